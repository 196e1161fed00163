"""What may be said for options of which only rooms that are slow to open know the words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def schemes() -> Mapping[str, str]:
    """Name of a scheme or family → what it makes of a layer."""
    from sepfactor.factor import SCHEME_NAMES, form_of

    families = {name: f"all of {name}-…" for name in ("spatial", "channel")}
    return {**families, **{name: form_of(name) for name in SCHEME_NAMES}}


def providers(engine: str) -> Sequence[str]:
    """What an engine can run operators with, on this machine.

    Args:
        engine: its name; what is of all engines is that of onnxruntime.

    Raises:
        OptionError: the engine is not installed.
    """
    if engine == "openvino":
        from sepfactor.measure.openvino_session import device_names

        return device_names()
    if engine in ("onnxruntime", "all"):
        from sepfactor.measure.onnxruntime_session import provider_names

        return provider_names()
    return ["cpu"]
