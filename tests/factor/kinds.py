"""For every scheme, convolutions it takes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from sepfactor.factor import SCHEMES, Rank, Scheme, Stage
from tests.strategies import normal, stages


def _volumes(groupings: tuple[str, ...], least: int = 1) -> st.SearchStrategy[Stage]:
    """Of three axes."""
    return stages(groupings, kernel=(least, 3), axes=3)


_PLANES: dict[str, st.SearchStrategy[Stage]] = {
    "trim": stages(kernel=(2, 4)).map(lambda stage: with_zero_border(replace(stage, pads=((3, 3), (3, 3))))),
    "spatial": stages(("dense", "grouped", "multiplier"), kernel=(2, 5)),
    "asymmetric": stages(("dense", "grouped"), kernel=(2, 5)),
    "separable": stages(("depthwise",), kernel=(2, 5)),
}
"""Of two axes, by the first word of the name; others draw from all."""

_VOLUMES: dict[str, st.SearchStrategy[Stage]] = {
    "trim": _volumes(("dense",), 2).map(lambda stage: with_zero_border(replace(stage, pads=((3, 3),) * 3))),
    "spatial": _volumes(("dense", "multiplier"), 2),
    "asymmetric": _volumes(("dense", "grouped")),
    "separable": _volumes(("depthwise",)),
}
"""Of three."""


def with_zero_border(stage: Stage) -> Stage:
    """``stage`` with its first row and last column of taps set to zero."""
    weight = stage.weight.copy()
    weight[:, :, 0] = 0
    weight[..., -1] = 0
    return replace(stage, weight=weight)


def untied(stage: Stage, seed: int) -> Stage:
    """``stage`` with weights in general position, zeros kept.

    Equal singular values leave the basis open, and with it the error of a Tucker truncation that
    cuts between them.
    """
    return replace(stage, weight=stage.weight * normal(seed, *stage.weight.shape))


def taken_by(scheme: Scheme, axes: tuple[int, ...] = (2, 2, 3)) -> st.SearchStrategy[Stage]:
    word = scheme.name.split("-")[0]
    of = {
        2: _PLANES.get(word, stages(("dense", "grouped"))),
        3: _VOLUMES.get(word, _volumes(("dense", "grouped"))),
    }
    if scheme.name.endswith("-last"):  # these need three
        axes = (3,)
    return st.sampled_from(axes).flatmap(of.__getitem__).filter(lambda stage: scheme.refuses(stage) is None)


@st.composite
def ranks(draw: st.DrawFn, full: Rank) -> Rank:
    """A rank of at least one on every axis."""
    return tuple(draw(st.integers(1, most)) for most in full)


def by_name(name: str) -> Scheme:
    return next(scheme for scheme in SCHEMES if scheme.name == name)
