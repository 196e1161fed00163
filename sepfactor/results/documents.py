"""What the commands put out: a report, a planning, an inspection, a benchmark, a comparison."""

from __future__ import annotations

from collections.abc import Mapping

from sepfactor.results.accuracy import Accuracy, OutputDifference
from sepfactor.results.base import Amount, Document, Frozen, Json
from sepfactor.results.context import Data, Environment, MemoryUse
from sepfactor.results.layers import (
    Budget,
    EightBits,
    FrontPoint,
    Layer,
    LayerInspection,
    Picture,
    Totals,
    Tuning,
)
from sepfactor.results.quality import OutputTask, Quality
from sepfactor.results.tidied import RewriteRow
from sepfactor.results.timing import Ratio, Speed, Timing
from sepfactor.words import decibel, percent, points


class Report(Document):
    """Everything that was done and measured.

    Attributes:
        schema_version: of the JSON.
        sepfactor_version: that made it.
        model: name of the file that was compressed.
        output: the file that was written; None where there is none.
        options: as they held, with data that were given as objects told by their type.
        environment: machine and software.
        data: what the networks were run on.
        layers: one row a convolution of the network as exact rewriting left it, in the order of the graph.
        totals: sums over them, and file sizes.
        accuracy: every output against the original's; None where the result is the original.
        speed: the whole network against the original; None where it was not timed.
        notes: what a reader must not miss.
        rewrites: exact rewritings that came before factoring, and what each is worth.
        budget: what was asked of the whole, where plans were searched for.
        front: networks measured on the way, where a budget was searched for.
        tasks: what outputs were taken for, where they were judged to a budget.
        pictures: samples on which the two networks differ, if they are images; a dozen at most.
        eight_bits: what computes in 8-bit integers; None where nothing does.
        tuning: what tuning came to; None where it was not asked for.
        stand_in: onnxruntime cannot run the network, and what the notes name was measured in its place.
        memory: what the run took of it.
    """

    model: str
    output: str | None
    options: Mapping[str, Json]
    environment: Environment
    data: Data
    layers: tuple[Layer, ...]
    totals: Totals
    accuracy: Accuracy | None
    speed: Speed | None
    notes: tuple[str, ...] = ()
    rewrites: tuple[RewriteRow, ...] = ()
    budget: Budget | None = None
    front: tuple[FrontPoint, ...] | None = None
    tasks: tuple[OutputTask, ...] = ()
    pictures: tuple[Picture, ...] = ()
    eight_bits: EightBits | None = None
    tuning: Tuning | None = None
    stand_in: bool = False
    memory: MemoryUse | None = None

    @property
    def is_changed(self) -> bool:
        """Whether the result is another network than the original: factored, or rewritten exactly."""
        return self.accuracy is not None

    @property
    def headline(self) -> str:
        """What came of it, such as ``1.84× faster (95 % interval 1.81–1.88), top-1 71.2 → 70.9 % on …``."""
        if not self.is_changed:
            return f"Nothing of {self.model} was worth replacing"
        speed = self.speed.line if self.speed else _fewer(self.totals)
        apart = self.speed is not None and self.speed.factoring is not None
        said = f"{speed}{';' if apart else ','} {_accuracy(self.accuracy, self.data)}"
        if not self.totals.replaced and self.eight_bits is not None:
            said = f"in 8-bit integers, nothing factored: {said}"
        elif not self.totals.replaced:
            said = f"rewritten exactly, nothing factored: {said}"
        if self.stand_in:
            said = f"as measured on what stands in for it, since onnxruntime cannot run it: {said}"
        return said[0].upper() + said[1:]

    def __repr__(self) -> str:
        return f"<Report on {self.model}: {self.headline}>"

    __str__ = __repr__


def _fewer(sums: Totals) -> str:
    fewer = f"{sums.macs_before / sums.macs_after:.2f}× fewer multiplications" if sums.macs_after else ""
    return f"{fewer or 'no multiplications left'} (not timed)"


def _accuracy(accuracy: Accuracy | None, data: Data) -> str:
    output = None if accuracy is None else accuracy.telling
    if output is None:
        return "outputs not compared"
    if output.mismatched:
        return f"but output {output.name} has another shape than the original's"
    if not output.is_finite:
        return f"but output {output.name} is NOT FINITE where the original's is"
    if accuracy is not None and accuracy.boxes:
        first = accuracy.boxes[0]
        return f"{first.kind} {percent(first.original)} → {percent(first.result)} on {data.samples_text}"
    unclaimed = ", so no accuracy is claimed" if data.synthetic else ""
    return _against(output, f"on {data.samples_text}{unclaimed}")


def _against(output: OutputDifference, where: str) -> str:
    if top := output.top1:
        chance = ", a change that may be chance" if top.drop and top.verdict.code == "by-chance" else ""
        return f"top-1 {100 * top.reference.value:.1f} → {100 * top.candidate.value:.1f} % {where}{chance}"
    if target := output.target:
        before, after = decibel(target.reference_psnr_db), decibel(target.candidate_psnr_db)
        return f"PSNR against the target {before} → {after} {where}"
    if output.agreement is not None:
        lost = output.estimated_drop
        about = "" if lost is None else f", about {points(lost)} of accuracy lost as estimated without labels"
        return f"same answer on {percent(output.agreement)} {where}{about}"
    return f"output off by {percent(output.relative_error)} (SNR {decibel(output.snr_db)}) {where}"


class Planning(Document):
    """What ``plan`` found.

    Attributes:
        schema_version: of the JSON.
        sepfactor_version: that made it.
        model: name of the file that was planned for.
        options: as they held, with data that were given as objects told by their type.
        environment: machine and software.
        data: what the networks were run on.
        budget: what was asked of the whole; None where a front was, or each layer is decided on its own.
        front: networks built on the way, or the front itself.
        rewrites: exact rewritings that come before factoring, and what each is worth.
        plans: files written, in the order of ``front`` where that was asked for.
        tasks: what outputs were taken for, where they were judged to a budget.
        notes: what a reader must not miss.
        memory: what the run took of it.
    """

    model: str
    options: Mapping[str, Json]
    environment: Environment
    data: Data
    budget: Budget | None
    front: tuple[FrontPoint, ...]
    rewrites: tuple[RewriteRow, ...] = ()
    plans: tuple[str, ...] = ()
    tasks: tuple[OutputTask, ...] = ()
    notes: tuple[str, ...] = ()
    memory: MemoryUse | None = None

    @property
    def headline(self) -> str:
        """What the plan is expected to do, or how far a front of plans reaches."""
        for point in self.front:
            if point.chosen and point.speedup is not None:
                lost = "" if point.drop is None else f", {100 * point.drop:.2f} points of accuracy lost"
                noise = "" if point.snr_db is None else f", SNR {decibel(point.snr_db)}"
                return f"A plan for {self.model}: {point.speedup:.2f}× as fast{lost}{noise}"
        speeds = [point.speedup for point in self.front if point.speedup is not None]
        if not speeds:
            return f"A plan for {self.model}, layer by layer"
        return f"{len(speeds)} plans for {self.model}: {min(speeds):.2f}× to {max(speeds):.2f}× as fast"

    def __repr__(self) -> str:
        return f"<Planning: {self.headline}>"

    __str__ = __repr__


class LayoutTimes(Frozen):
    """Milliseconds of one run by the layout that maps are in.

    Attributes:
        blocked: in blocks of channels, which onnxruntime prefers.
        reorders: to blocks and from them.
        plain: in the usual layout.
    """

    blocked: Amount
    reorders: Amount
    plain: Amount


class Inspection(Document):
    """Where the time goes, and how separable each layer is.

    Attributes:
        schema_version: of the JSON.
        sepfactor_version: that made it.
        model: name of the file.
        environment: machine and software.
        data: what the network was run on.
        energy_shares: of the energy, that ``ranks`` and ``seen_ranks`` of the layers keep.
        layers: one row a convolution, in the order of the graph.
        operators: operator type → milliseconds of one run, layout changes included.
        layouts: the same by the layout that maps are in; None where that is not known.
        rewrites: exact rewritings that find something, none of them timed; ``tidy`` measures what each is
            worth.
        rewritten: how many times as fast the network is with all of them, timed briefly; None where there are
            none, or it takes too long.
        notes: what a reader must not miss.
        memory: what the run took of it.
    """

    model: str
    environment: Environment
    data: Data
    energy_shares: tuple[float, ...]
    layers: tuple[LayerInspection, ...]
    operators: Mapping[str, Amount]
    layouts: LayoutTimes | None = None
    rewrites: tuple[RewriteRow, ...] = ()
    rewritten: Ratio | None = None
    notes: tuple[str, ...] = ()
    memory: MemoryUse | None = None

    def __repr__(self) -> str:
        share = sum(layer.share or 0.0 for layer in self.layers)
        whole = sum(self.operators.values())
        return (
            f"<Inspection of {self.model}: {len(self.layers)} convolutions take {100 * share:.0f} % "
            f"of {whole:.3g} ms>"
        )

    __str__ = __repr__


class BenchRow(Frozen):
    """One model of a benchmark.

    Attributes:
        model: path or name.
        engine: that ran it.
        timing: of one run.
        speedup: the first model against this one; None for the first.
    """

    model: str
    timing: Timing
    speedup: Ratio | None = None
    engine: str = "onnxruntime"


class Bench(Document):
    """Interleaved timing of several models.

    Attributes:
        schema_version: of the JSON.
        sepfactor_version: that made it.
        environment: machine and software.
        data: what the models were run on.
        rows: one a model, in the order they were given in; of several engines, one a model and engine.
        others: the same machine with the other engines, where several were compared.
        advice: which model to deploy in which engine, where several were compared; else empty.
        notes: what a reader must not miss.
    """

    environment: Environment
    data: Data
    rows: tuple[BenchRow, ...]
    others: tuple[Environment, ...] = ()
    advice: str = ""
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        said = (
            f"{row.model} {row.timing.median_ms:.3g} ms"
            + (f", {row.speedup.verdict.text}" if row.speedup else "")
            for row in self.rows
        )
        return f"<Bench {'; '.join(said)}>"

    __str__ = __repr__


class Comparison(Document):
    """How far one network differs from another on data.

    Attributes:
        schema_version: of the JSON.
        sepfactor_version: that made it.
        reference: path or name of the first network.
        candidate: path or name of the second.
        environment: machine and software.
        data: what they were run on.
        accuracy: every output of the candidate against the reference's.
        tasks: what outputs were taken for, where it was asked for one.
        quality: the candidate beside the reference, judged by these; None where it was not asked for.
        pictures: samples on which the two differ, if they are images.
        notes: what a reader must not miss.
    """

    reference: str
    candidate: str
    environment: Environment
    data: Data
    accuracy: Accuracy
    tasks: tuple[OutputTask, ...] = ()
    quality: Quality | None = None
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        lines = "; ".join(f"{output.name}: {output.line()}" for output in self.accuracy.outputs)
        on = f"on {self.accuracy.samples} samples"
        return f"<Comparison of {self.candidate} with {self.reference} {on}: {lines}>"

    __str__ = __repr__


__all__ = ["Bench", "BenchRow", "Comparison", "Inspection", "LayoutTimes", "Planning", "Report"]
