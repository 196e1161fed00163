"""For every scheme, convolutions it takes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from sepfactor.factor import SCHEMES, Rank, Scheme, Stage
from tests.strategies import normal, stages

_KINDS: dict[str, st.SearchStrategy[Stage]] = {
    "trim": st.builds(
        lambda stage, pads: with_zero_border(replace(stage, pads=pads)),
        stages(kernel=(2, 4)),
        st.just(((3, 3), (3, 3))),
    ),
    "spatial": stages(("dense", "grouped", "multiplier"), kernel=(2, 5)),
    "asymmetric": stages(("dense", "grouped"), kernel=(2, 5)),
    "separable": stages(("depthwise",), kernel=(2, 5)),
}
"""By the first word of the name; others draw from all."""


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


def taken_by(scheme: Scheme) -> st.SearchStrategy[Stage]:
    kind = _KINDS.get(scheme.name.split("-")[0], stages(("dense", "grouped")))
    return kind.filter(lambda stage: scheme.refuses(stage) is None)


@st.composite
def ranks(draw: st.DrawFn, full: Rank) -> Rank:
    """A rank of at least one on every axis."""
    return tuple(draw(st.integers(1, most)) for most in full)


def by_name(name: str) -> Scheme:
    return next(scheme for scheme in SCHEMES if scheme.name == name)
