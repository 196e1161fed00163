"""Write what was built, verify the file as it was written, and put it in its place."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from sepfactor.budgets import Budget
from sepfactor.codes import Reason
from sepfactor.deliver.provenance import with_budget, with_provenance
from sepfactor.deliver.verify import Written, verify
from sepfactor.fit.build import Built
from sepfactor.graph.save import check_destination, publish, staged
from sepfactor.plans.document import Plan
from sepfactor.results import Report
from sepfactor.scratch import scratch_folder
from sepfactor.search.choose import Chosen
from sepfactor.study.study import Study
from sepfactor.words import sort_of


@dataclass(frozen=True, eq=False)
class Result:
    """What :func:`sepfactor.compress` returns.

    Attributes:
        report: everything done and measured.
        model: the rewritten graph; where nothing was worth replacing, the tidied original.
        path: where it was written, None if it was not.
        plan: what was done, to be written, edited and applied again.
        withheld: why nothing was written though a file was asked for; None where it was, or none was.
    """

    report: Report
    model: ir.Model
    path: Path | None
    plan: Plan
    withheld: Reason | None = None

    @property
    def is_met(self) -> bool:
        """Whether the budget is kept, if one was set."""
        return self.report.budget is None or self.report.budget.is_met

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the network to ``path``, whole or not at all, whether or not it was written before.

        Raises:
            OutputError: the file exists and may not be overwritten, or cannot be written.
        """
        target = Path(path)
        check_destination(target, overwrite=overwrite)
        with staged(self.model, target) as file:
            publish(file, target, overwrite=overwrite)
        return target

    def __repr__(self) -> str:
        sums, speed = self.report.totals, self.report.speed
        sort = sort_of(layer.weight_shape for layer in self.report.layers)
        verdict = speed.line if speed else "not timed"
        return f"<Result {sums.replaced} of {sums.convolutions} {sort} replaced, {verdict}>"

    def _repr_html_(self) -> str | None:
        return self.report._repr_html_()


def deliver(study: Study, chosen: Chosen, built: Built, target: Path | None) -> Result:
    """Write, verify what was written, and put it in its place.

    Args:
        study: the run.
        chosen: the plan, and how it was found.
        built: the network made by it.
        target: file to write; None to write none. None is written either where nothing was replaced; nor,
            unless that was asked for, where the budget is not kept, or the result is no faster though time is
            what was to be saved. Where the network was tidied and is faster for that alone, it is written.

    Raises:
        SepfactorError: the result cannot be written or run; its ``plan`` is that which was found.
    """
    plan = with_budget(built.plan, study.options, chosen.given)
    model = with_provenance(built.to_write, study.network.source, plan)
    with ExitStack() as stack:
        place = target or stack.enter_context(scratch_folder()) / "model.onnx"
        file = stack.enter_context(staged(model, place))
        report = verify(Written(study, chosen, built, file))
        withheld = _why_not(study, chosen, report)
        if target is None or withheld is not None:
            return Result(report, model, None, plan, withheld if target is not None else None)
        publish(file, target, overwrite=study.options.overwrite)
        return Result(report.model_copy(update={"output": str(target)}), model, target, plan)


def _why_not(study: Study, chosen: Chosen, report: Report) -> Reason | None:
    """Why the result is not written; None if it may be."""
    if not report.is_changed:
        return Reason("nothing-replaced", "nothing was worth replacing")
    if study.options.force:
        return None
    if not chosen.is_met:
        return Reason("not-kept", "the budget is not kept")
    for_time = chosen.given is None and not Budget.of(study.options).is_of_size_alone
    if for_time and report.speed is not None and report.speed.low <= 1:
        return Reason("no-faster", "the result is no faster than the original", report.speed.verdict.text)
    return None
