"""The bare factors that a line of a plan names."""

from __future__ import annotations

from sepfactor.errors import PlanError
from sepfactor.factor import SCHEME_NAMES, Factorization, Rank, select_schemes
from sepfactor.factor.scheme import Spectrum
from sepfactor.graph.survey import Site
from sepfactor.plans.document import PlannedLayer
from sepfactor.text import rank_text


def bare_factors(site: Site, planned: PlannedLayer) -> tuple[Factorization, Spectrum]:
    """What the plan names, unfitted, with the bias of the layer; and the errors at other ranks.

    Raises:
        PlanError: the scheme is unknown or refuses the layer, or the rank is none of its.
    """
    if planned.scheme not in SCHEME_NAMES:
        names = ", ".join(SCHEME_NAMES)
        raise PlanError(
            f"The plan gives {site.name!r} the unknown scheme {planned.scheme!r}. Known are {names}."
        )
    assert site.stage is not None
    (scheme,) = select_schemes((planned.scheme,))
    refusal = scheme.refuses(site.stage)
    if refusal:
        raise PlanError(f"The plan gives {site.name!r} the scheme {planned.scheme}, but {refusal}.")
    decomposition = scheme.decompose(site.stage)
    _check_rank(planned, decomposition.full_rank)
    return Factorization(decomposition.build(planned.rank), site.bias), decomposition.spectrum()


def _check_rank(planned: PlannedLayer, full: Rank) -> None:
    rank = planned.rank
    if len(rank) != len(full) or any(r > most for r, most in zip(rank, full, strict=False)):
        most = rank_text(full) or "none"
        raise PlanError(
            f"The plan gives {planned.name!r} the rank {rank_text(rank) or 'none'}; {planned.scheme} takes "
            f"{most} at most there."
        )
