"""Pure numbers: convolutions, what they can be factored into, and how well. Knows nothing of ONNX."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from sepfactor.errors import OptionError
from sepfactor.factor import (
    asymmetric_3d,
    average_first,
    channel,
    depthwise_pointwise,
    hybrid,
    separable_depthwise,
    spatial,
    trim,
    tucker2,
)
from sepfactor.factor.scheme import Decomposition, Rank, Scheme
from sepfactor.factor.stage import Chain, Factorization, Stage
from sepfactor.factor.statistics import Statistics, weight_error

SCHEMES: tuple[Scheme, ...] = (
    trim.TRIM,
    spatial.VERTICAL_FIRST,
    spatial.HORIZONTAL_FIRST,
    spatial.DEPTH_LAST,
    spatial.WIDTH_LAST,
    depthwise_pointwise.DEPTHWISE_FIRST,
    depthwise_pointwise.POINTWISE_FIRST,
    hybrid.HYBRID,
    channel.OUT,
    channel.IN,
    tucker2.TUCKER2,
    asymmetric_3d.ASYMMETRIC_3D,
    separable_depthwise.SEPARABLE_DEPTHWISE,
)
"""Every scheme; order breaks ties."""

SCHEME_NAMES = (*(scheme.name for scheme in SCHEMES), average_first.NAME)
"""What a layer may become. The last is no decomposition of its weights, so there are no ranks to look for."""


def select_schemes(names: Sequence[str]) -> tuple[Scheme, ...]:
    """The schemes of these names or families (``spatial`` is all of its orders); all if none is named.

    Raises:
        OptionError: a name is neither a scheme nor a family.
    """
    known = {*SCHEME_NAMES, *(s.name.split("-")[0] for s in SCHEMES if _has_family(s))}
    unknown = [name for name in names if name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], sorted(known), 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise OptionError(
            f"There is no scheme {unknown[0]!r}.{hint} Known are {', '.join(SCHEME_NAMES)}, and "
            "the families spatial and channel."
        )
    return tuple(s for s in SCHEMES if not names or _named(s, names))


def form_of(name: str) -> str:
    """The chain of a scheme in a few signs."""
    return next((scheme.form for scheme in SCHEMES if scheme.name == name), average_first.FORM)


def _has_family(scheme: Scheme) -> bool:
    return scheme.name.startswith(("spatial-", "channel-"))


def _named(scheme: Scheme, names: Sequence[str]) -> bool:
    return scheme.name in names or (_has_family(scheme) and scheme.name.split("-")[0] in names)


__all__ = [
    "SCHEMES",
    "SCHEME_NAMES",
    "Chain",
    "Decomposition",
    "Factorization",
    "Rank",
    "Scheme",
    "Stage",
    "Statistics",
    "form_of",
    "select_schemes",
    "weight_error",
]
