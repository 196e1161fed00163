"""Rows of the documents: one a layer, one a limit, one a network built on the way, one a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sepfactor.codes import BudgetVerdict, Precision, Reason
from sepfactor.results.base import Amount, Count, Frozen, Unbounded
from sepfactor.results.quality import Quality, QualityKind


class StageRow(Frozen):
    """One convolution of what a layer became.

    Attributes:
        weight_shape: ``(out, in/group, *kernel)``.
        group: of channels.
        strides: along each axis.
        macs: multiply-accumulates of one run; None where the map is unknown.
    """

    weight_shape: tuple[Count, ...]
    group: int = 1
    strides: tuple[int, ...] = ()
    macs: Count | None = None


class Layer(Frozen):
    """One Conv of the network.

    Attributes:
        name: of its node.
        output: name of the value it writes.
        weight_shape: ``(out, in/group, *kernel)``.
        group: as in the model.
        strides: as in the model.
        map_size: ``(height, width)`` of its input.
        replaced: whether it was.
        reason: why it was not; None where it was.
        scheme: name of the scheme it was factored by; empty where it stays.
        form: the stages it became.
        rank: one number or several, as the scheme has it.
        chains: stages in a row, whose sum stands for it; empty where it stays, or is the same kernel on
            another map.
        exact: whether that is lossless but for rounding.
        precision: what the layer, or what it became, computes in: ``float`` or ``int8``.
        macs_before: multiply-accumulates of one run.
        macs_after: the same of what it became.
        parameters_before: numbers of its weight and bias.
        parameters_after: the same of what it became.
        milliseconds_before: in the whole network, from a profiled run.
        milliseconds_after: likewise, from a profiled run of the result.
        trial_speedup: of the layer alone between blocked neighbours.
        trial_interval: its 95 % interval.
        weight_error: ``‖W − W'‖ / ‖W‖``.
        output_error: ``‖y − y'‖ / ‖y − mean(y)‖`` of the layer alone, on patches of the original network.
        unfitted_error: the same on held-out data in the network compressed so far, errors of earlier layers
            included, with the factors of the bare weights (their bias corrected).
        fitted_error: the same as fitted. Both count all channels alike; but fits are chosen by errors as the
            layers weigh them that read the answer, so the fitted one may be the larger of the two.
        ridge: ridge towards the original weights that the held-out data chose; None if they preferred the
            unfitted factors.
        corrected: the layer stays dense, with weights that make up for errors before it.
        spectrum: scheme → relative error at a few ranks, rising, ``[[rank, error], …]``: what it could
            have become. Errors before fitting, as candidates were looked for: weighed by the layers that
            read the answer where factors are fitted, plain under a rule (``rank``, ``max_error``), and of
            the bare weights without a refit or where these lose nothing. Schemes of one rank only.
    """

    name: str
    output: str
    weight_shape: tuple[Count, ...]
    group: int = 1
    strides: tuple[int, ...] = ()
    map_size: tuple[int, ...] = ()
    replaced: bool = False
    reason: Reason | None = None
    scheme: str = ""
    form: str = ""
    rank: tuple[int, ...] = ()
    chains: tuple[tuple[StageRow, ...], ...] = ()
    exact: bool = False
    precision: Precision = "float"
    macs_before: Count | None = None
    macs_after: Count | None = None
    parameters_before: Count | None = None
    parameters_after: Count | None = None
    milliseconds_before: Amount | None = None
    milliseconds_after: Amount | None = None
    trial_speedup: float | None = None
    trial_interval: tuple[float, float] | None = None
    weight_error: float | None = None
    output_error: float | None = None
    unfitted_error: float | None = None
    fitted_error: float | None = None
    ridge: float | None = None
    corrected: bool = False
    spectrum: Mapping[str, tuple[tuple[int, float], ...]] | None = None


class Totals(Frozen):
    """Sums over all convolutions, and the size of the files.

    Attributes:
        convolutions: how many there are.
        replaced: how many of them were factored.
        macs_before: multiply-accumulates of one run.
        macs_after: the same of the result.
        parameters_before: numbers of weights and biases.
        parameters_after: the same of the result.
        bytes_before: size of the original, files beside it included.
        bytes_after: the same of the result.
    """

    convolutions: Count
    replaced: Count
    macs_before: Count
    macs_after: Count
    parameters_before: Count
    parameters_after: Count
    bytes_before: Count
    bytes_after: Count

    @classmethod
    def over(cls, layers: Sequence[Layer], bytes_before: int, bytes_after: int) -> Totals:
        """Sums over the rows; what is not known of a layer counts nothing."""

        def total(numbers: Sequence[int | None]) -> int:
            return sum(number or 0 for number in numbers)

        return cls(
            convolutions=len(layers),
            replaced=sum(layer.replaced for layer in layers),
            macs_before=total([layer.macs_before for layer in layers]),
            macs_after=total([layer.macs_after for layer in layers]),
            parameters_before=total([layer.parameters_before for layer in layers]),
            parameters_after=total([layer.parameters_after for layer in layers]),
            bytes_before=bytes_before,
            bytes_after=bytes_after,
        )


class EightBits(Frozen):
    """What of the result computes in 8-bit integers.

    Attributes:
        layers: convolutions, factored or not.
        beside: other nodes between them.
        share: of the result's time, in a profiled run; None where that is not known.
    """

    layers: Count
    beside: Count
    share: Amount | None = None

    @property
    def line(self) -> str:
        """The same for people."""
        share = "" if self.share is None else f"; {100 * self.share:.0f} % of the time"
        return f"{self.layers} convolutions and {self.beside} other nodes compute in 8-bit integers{share}"


class Tuning(Frozen):
    """What a descent on the weights came to, without labels.

    Attributes:
        reason: why it was left out; None where it was not.
        steps: that were made.
        seconds: of the processor's time that it took.
        before: distance to what the original answers, on samples that choose: squared, in shares of how much
            outputs and maps vary; of several things together their sum.
        after: the same of the result.
        share: of the way that was gone; 0 where nothing was won, and weights are as they were.
    """

    reason: Reason | None = None
    steps: Count = 0
    seconds: Amount = 0.0
    before: Amount | None = None
    after: Amount | None = None
    share: Amount = 0.0

    @property
    def line(self) -> str:
        """The same for people."""
        if self.reason is not None:
            return f"left out: {self.reason}"
        effort = f"{self.steps} steps in {self.seconds:.0f} s"
        if not self.share or self.before is None or self.after is None:
            return f"nothing was won by {effort}, so weights are as they were fitted"
        return f"{self.before:.3g} → {self.after:.3g} off the original on samples not fitted to, by {effort}"


class LimitResult(Frozen):
    """One limit of a budget.

    Attributes:
        code: the option that set it, such as ``max-drop``, ``min-snr``, ``speedup`` or ``max-macs``.
        asked: the limit, in the unit of the option; shares of 1 for percents.
        reached: what came of it, in the same unit; None where that is not known.
        is_met: whether it is kept.
        text: the same for people.
    """

    code: str
    asked: float
    reached: Unbounded | None
    is_met: bool
    text: str


class Budget(Frozen):
    """What was asked of the whole network, and whether it is kept.

    Attributes:
        verdict: whether it is kept, as a code and in words.
        limits: one row a limit, in the order of the options.
        counts: what a loss is counted in; None where only cost was limited.
        predicted_speedup: of the plan, before it was built.
        quality: of the result on data held out from fitting, which plans were chosen by.
    """

    verdict: BudgetVerdict
    limits: tuple[LimitResult, ...] = ()
    counts: QualityKind | None = None
    predicted_speedup: float | None = None
    quality: Quality | None = None

    @property
    def is_met(self) -> bool:
        """Whether it is kept."""
        return self.verdict.is_met


class FrontPoint(Frozen):
    """One network that was built and measured on the way to the plan.

    Attributes:
        label: what it is.
        speedup: over the original.
        interval: its 95 % interval; None where the speed is predicted.
        drop: accuracy lost, a share of 1.
        snr_db: of dense outputs, dB.
        chosen: whether it is the result.
    """

    label: str
    speedup: float | None = None
    interval: tuple[float, float] | None = None
    drop: float | None = None
    snr_db: float | None = None
    chosen: bool = False


class Picture(Frozen):
    """One sample as both networks see it; images are PNG data URIs.

    Attributes:
        sample: its place in the data.
        output: the output shown.
        input: what went in, if that is an image.
        original: a part of what came out of the original, if that is an image.
        result: the same part of what came out of the result.
        difference: of the two, ``gain`` times as strong as it is.
        gain: how many times.
        classes: best class of the original and of the result, of a classifier.
        label: the true class, where it is known.
        snr_db: of this sample, dB.
    """

    sample: Count
    output: str
    input: str | None = None
    original: str | None = None
    result: str | None = None
    difference: str | None = None
    gain: float | None = None
    classes: tuple[int, int] | None = None
    label: int | None = None
    snr_db: float | None = None


class LayerInspection(Frozen):
    """One Conv, as ``inspect`` sees it.

    Attributes:
        name: of its node.
        output: name of the value it writes.
        weight_shape: ``(out, in/group, *kernel)``.
        group: as in the model.
        strides: as in the model.
        map_size: ``(height, width)`` of its input.
        reason: why it cannot be replaced; None where it can.
        macs: multiply-accumulates of one run.
        parameters: numbers of its weight and bias.
        milliseconds: in the whole network, from a profiled run.
        share: of the measured time of all operators.
        ranks: scheme → ranks that keep 90, 99 and 99.9 % of the kernel's energy.
        full_ranks: scheme → rank at which the scheme is exact.
        refusals: scheme → why it does not apply.
        seen_ranks: as ``ranks``, of the energy that reaches the output on the data: the kernel in the
            metric of the activations.
        neighbour_correlation: between pixels side by side in the layer's input, averaged over channels.
        channel_correlation: mean absolute correlation between two channels of the input at one pixel.
        least_scheme: of fewest multiplications among those that keep 99 % of the energy that reaches the
            output on the data; empty where none has fewer than the layer.
        least_rank: its rank.
        least_macs: its multiply-accumulates; None where there is no such scheme.
    """

    name: str
    output: str
    weight_shape: tuple[Count, ...]
    group: int = 1
    strides: tuple[int, ...] = ()
    map_size: tuple[int, ...] = ()
    reason: Reason | None = None
    macs: Count | None = None
    parameters: Count | None = None
    milliseconds: Amount | None = None
    share: Amount | None = None
    ranks: Mapping[str, tuple[tuple[int, ...], ...]] = {}
    full_ranks: Mapping[str, tuple[int, ...]] = {}
    refusals: Mapping[str, Reason] = {}
    seen_ranks: Mapping[str, tuple[tuple[int, ...], ...]] = {}
    neighbour_correlation: float | None = None
    channel_correlation: float | None = None
    least_scheme: str = ""
    least_rank: tuple[int, ...] = ()
    least_macs: Count | None = None


__all__ = [
    "Budget",
    "EightBits",
    "FrontPoint",
    "Layer",
    "LayerInspection",
    "LimitResult",
    "Picture",
    "StageRow",
    "Totals",
    "Tuning",
]
