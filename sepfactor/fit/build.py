"""From decisions to a network: fit every factor, put them into the graph, write the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from sepfactor.factor import Factorization, weight_error
from sepfactor.factor.stage import Ints
from sepfactor.fit.sequential import FitSettings, Fitted, Wish, affordable, fit
from sepfactor.fit.settings import has_room
from sepfactor.graph.averages import Moved, move_averages
from sepfactor.graph.rebuild import Rebuilt, Replacement, rebuild
from sepfactor.graph.survey import Site
from sepfactor.options import Options
from sepfactor.search.subject import rank_text
from sepfactor.study.study import Decision, Job


@dataclass(frozen=True, eq=False)
class Built:
    """A network made of decisions.

    Attributes:
        decisions: one per Conv. fitted: the fits, by output name of the site.
        fitted_on: samples they rest on. rebuilt: the graph.
        replacements: what was put into it. blocks: of averages that come first, by output name of the site.
    """

    decisions: Sequence[Decision]
    fitted: Mapping[str, Fitted]
    fitted_on: int
    rebuilt: Rebuilt
    replacements: Sequence[Replacement]
    blocks: Mapping[str, Ints]

    @property
    def is_changed(self) -> bool:
        """Whether anything was replaced."""
        return any(decision.choice.candidate is not None for decision in self.decisions)


def build(job: Job, decisions: Sequence[Decision], settings: FitSettings | None = None) -> Built:
    """Fit and rebuild.

    Args:
        job: the run.
        decisions: one per Conv.
        settings: of the fit, where they are not to be those of the job's method.

    Where an average comes first, it does so in the network that fits aim at as well: nothing behind it can
    make up for what that loses, and errors of fits do not count it.
    """
    candidates = {decision.site.output: decision.choice.candidate for decision in decisions}
    blocks = {name: c.block for name, c in candidates.items() if c is not None and c.block is not None}
    moved = move_averages(job.prepared, blocks)
    fitted, count = _fit_all(job, moved, decisions, settings)
    replacements = [_as_written(job, one) for one in _replacements(decisions, fitted, job.options)]
    rebuilt = rebuild(moved.model, replacements)
    rebuilt = replace(rebuilt, site_of={**moved.site_of, **rebuilt.site_of})
    return Built(decisions, fitted, count, rebuilt, replacements, blocks)


def network_to_write(job: Job, built: Built) -> ir.Model:
    """What was built; where that is a stand-in, the network it stands for, rewritten likewise."""
    if job.original is None:
        return built.rebuilt.model
    return job.original.rewritten(built.replacements, built.blocks)


def _fit_all(
    job: Job, moved: Moved, decisions: Sequence[Decision], settings: FitSettings | None
) -> tuple[Mapping[str, Fitted], int]:
    """The fits by output name of the site, and how many samples they rest on."""
    if job.method.settings is None or all(d.choice.candidate is None for d in decisions):
        return {}, 0
    asked = [
        replace(wish, site=replace(wish.site, input=moved.inputs.get(wish.site.output, wish.site.input)))
        for wish in wishes(job, decisions)
    ]
    data, memory = job.data, job.options.memory
    stops = [wish.site.output for wish in asked]
    most = affordable(moved.model, stops, data.fit[0], job.runtime, memory)
    held_out = [] if data.is_synthetic else data.held_out[: max(1, most // 4)]
    feeds = data.fit[: max(1, most - len(held_out))]
    chosen = settings or job.method.settings
    seed = job.options.seed
    found = fit(moved.model, asked, feeds, job.runtime, seed, job.progress, chosen, held_out, job.metrics)
    return found, len(feeds)


def wishes(job: Job, decisions: Sequence[Decision]) -> list[Wish]:
    """What is to be fitted: replaced layers, and layers that stay dense but may be corrected."""
    found = []
    for decision in decisions:
        site, candidate = decision.site, decision.choice.candidate
        if candidate is not None and candidate.exact:
            found.append(Wish(site, fixed=candidate.factorization))
        elif candidate is not None and candidate.block is None:
            found.append(Wish(site, (candidate.scheme,), candidate.rank))
        elif _may_correct(job, decision):
            found.append(Wish(site))
    return found


def _may_correct(job: Job, decision: Decision) -> bool:
    """Whether a layer that stays dense may get other weights: it was seen at work, and may be touched."""
    site = decision.site
    if site.stage is None or decision.observed is None:
        return False
    return not job.options.for_layer(site.name, site.output).keep and has_room(site.stage, job.options)


def _replacements(
    decisions: Sequence[Decision], fitted: Mapping[str, Fitted], options: Options
) -> list[Replacement]:
    """What goes into the graph, with the metadata of the new nodes: factors as fitted, and corrections.

    Where anything is replaced, so are layers that are faster in another form, as they are.
    """
    found = []
    changes = any(decision.choice.candidate is not None for decision in decisions)
    for decision in decisions:
        site, candidate = decision.site, decision.choice.candidate
        fit = fitted.get(site.output)
        if candidate is not None:
            built = candidate.factorization if fit is None else fit.factorization
            rank = rank_text(candidate.rank)
            found.append(Replacement(site, built, _metadata(site, built, candidate.scheme, rank, fit)))
        elif fit is not None:
            metadata = _metadata(site, fit.factorization, "corrected", "", fit)
            found.append(Replacement(site, fit.factorization, metadata))
        elif changes and _is_rewritten(site, options):
            assert site.stage is not None
            same = Factorization.of(site.stage, site.bias)
            found.append(Replacement(site, same, _metadata(site, same, "rewritten", "", None)))
    return found


def _as_written(job: Job, replacement: Replacement) -> Replacement:
    """With weights as the file will have them, where a stand-in has more digits."""
    dtype = job.written_as(replacement.site)
    if dtype == replacement.site.dtype:
        return replacement
    return replace(replacement, factorization=replacement.factorization.rounded(dtype))


def _is_rewritten(site: Site, options: Options) -> bool:
    """Whether a layer that is kept as it is may be touched, and is faster in another form."""
    may = not options.for_layer(site.name, site.output).keep
    return may and site.stage is not None and site.kind.rewrites(site.stage)


def _metadata(site: Site, built: Factorization, scheme: str, rank: str, fit: Fitted | None) -> dict[str, str]:
    assert site.stage is not None  # it was replaced
    metadata = {
        "sepfactor.scheme": scheme,
        "sepfactor.rank": rank,
        "sepfactor.weight_error": f"{weight_error(site.stage, built):.3e}",
    }
    if fit is not None:
        metadata["sepfactor.output_error"] = f"{fit.after:.3e}"
    return metadata
