"""Packages that sepfactor does without until they are asked for, and how one gets them."""

from __future__ import annotations

EXTRAS = {
    "images": ("pillow",),
    "html": ("jinja2", "vl-convert-python"),
    "openvino": ("openvino",),
    "ncnn": ("ncnn", "pnnx"),
    "tune": ("torch",),
}
"""Extra → the packages of it. A test holds that ``pyproject.toml`` says the same."""


def how_to_install(extra: str) -> str:
    """What to type for the packages of an extra, wherever sepfactor itself came from.

    Args:
        extra: one of :data:`EXTRAS`.
    """
    return f"pip install {' '.join(EXTRAS[extra])}"
