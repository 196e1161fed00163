"""The report as data. Everything a view shows is in here; the JSON is this, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sepfactor.report.base import SCHEMA_VERSION, Document, Frozen
from sepfactor.report.compared import Picture


class Layer(Frozen):
    """One Conv of the network.

    Attributes:
        name: of its node. output: of the value it writes.
        weight_shape: ``(out, in/group, *kernel)``. group, strides: as in the model.
        map_size: ``(height, width)`` of its input.
        replaced: whether it was. reason: why it was not, in words.
        scheme, form, rank: what it became.
        exact: whether that is lossless but for rounding.
        macs, parameters: before and after (bias included).
        milliseconds: in the whole network, before and after, from separate profiled runs.
        trial_speedup: of the layer alone between blocked neighbours; with its 95 % interval.
        weight_error: ``‖W − W'‖ / ‖W‖``.
        output_error: ``‖y − y'‖ / ‖y − mean(y)‖`` of the layer alone, on patches of the original network.
        unfitted_error, fitted_error: the same on held-out data in the network compressed so far, errors
            of earlier layers included: with the factors of the bare weights (their bias corrected), and
            as fitted. These count all channels alike; but fits are chosen by errors as the layers weigh them
            that read the answer, so the fitted one may be the larger of the two.
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
    weight_shape: tuple[int, ...]
    group: int = 1
    strides: tuple[int, ...] = ()
    map_size: tuple[int, ...] = ()
    replaced: bool = False
    reason: str = ""
    scheme: str = ""
    form: str = ""
    rank: tuple[int, ...] = ()
    exact: bool = False
    macs_before: int | None = None
    macs_after: int | None = None
    parameters_before: int | None = None
    parameters_after: int | None = None
    milliseconds_before: float | None = None
    milliseconds_after: float | None = None
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
    """Sums over all convolutions, and the size of the files."""

    convolutions: int
    replaced: int
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int
    bytes_before: int
    bytes_after: int


class Speed(Frozen):
    """Interleaved timing of whole networks.

    Attributes:
        runs: name → median, quartiles and number of runs, milliseconds. ``original`` and ``result``;
            ``prepared``, the original with its graph made plain but nothing factored, where that
            alone may change the speed.
        speedup: original over result, with its 95 % interval and verdict.
        factorisation: prepared over result, likewise, where preparing alone changed the speed.
    """

    runs: Mapping[str, Mapping[str, float]]
    speedup: Mapping[str, Any]
    factorisation: Mapping[str, Any] | None = None


class FrontPoint(Frozen):
    """One network that was built and measured on the way to the plan.

    Attributes:
        label: what it is. chosen: whether it is the result.
        speedup: over the original, with its 95 % interval.
        drop: accuracy lost, a share of 1. snr_db: of dense outputs.
    """

    label: str
    speedup: float | None = None
    interval: tuple[float, float] | None = None
    drop: float | None = None
    snr_db: float | None = None
    chosen: bool = False


class Budget(Frozen):
    """What was asked of the whole network, and whether it is kept.

    Attributes:
        verdict: in words. is_met: whether it is kept.
        predicted_speedup: of the plan, before it was built.
        quality: of the result on data held out from fitting, which plans were chosen by: ``kind``, scores
            of the ``original`` and the ``result`` as counted, ``expected`` and ``drop`` as estimated from
            all pairs of leads and changes, ``divergence`` and ``samples``.
    """

    verdict: str
    is_met: bool
    predicted_speedup: float | None = None
    quality: Mapping[str, Any] | None = None


class Report(Document):
    """Everything that was done and measured.

    Attributes:
        budget: what was asked of the whole, where plans were searched for.
        front: networks measured on the way, where a budget was searched for.
        pictures: samples on which the two networks differ, if they are images; a dozen at most.
        stand_in: onnxruntime cannot run the network, and what the notes name was measured in its place.
    """

    model: str
    output: str | None
    options: Mapping[str, Any]
    environment: Mapping[str, Any]
    data: Mapping[str, Any]
    layers: tuple[Layer, ...]
    totals: Totals
    accuracy: Mapping[str, Any] | None
    speed: Speed | None
    notes: tuple[str, ...] = ()
    budget: Budget | None = None
    front: tuple[FrontPoint, ...] | None = None
    pictures: tuple[Picture, ...] = ()
    stand_in: bool = False

    def __repr__(self) -> str:
        from sepfactor.report.verdict import verdict

        return f"<Report on {self.model}: {verdict(self)}>"

    __str__ = __repr__


class Planning(Document):
    """What ``plan`` found.

    Attributes:
        plans: files written, in the order of ``front`` where that was asked for.
    """

    model: str
    options: Mapping[str, Any]
    environment: Mapping[str, Any]
    data: Mapping[str, Any]
    budget: Budget | None
    front: tuple[FrontPoint, ...]
    plans: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class LayerInspection(Frozen):
    """One Conv, as ``inspect`` sees it.

    Attributes:
        share: of the measured time of all operators.
        ranks: scheme → ranks that keep 90, 99 and 99.9 % of the kernel's energy.
        full_ranks: scheme → rank at which the scheme is exact.
        refusals: scheme → why it does not apply.
        seen_ranks: as ``ranks``, of the energy that reaches the output on the data: the kernel in the
            metric of the activations.
        neighbour_correlation: between pixels side by side in the layer's input, averaged over channels.
        channel_correlation: mean absolute correlation between two channels of the input at one pixel.
        least_scheme, least_rank, least_macs: of fewest multiplications among those that keep 99 % of the
            energy that reaches the output on the data; no scheme where none has fewer than the layer.
    """

    name: str
    output: str
    weight_shape: tuple[int, ...]
    group: int = 1
    strides: tuple[int, ...] = ()
    map_size: tuple[int, ...] = ()
    reason: str = ""
    macs: int | None = None
    parameters: int | None = None
    milliseconds: float | None = None
    share: float | None = None
    ranks: Mapping[str, tuple[tuple[int, ...], ...]] = {}
    full_ranks: Mapping[str, tuple[int, ...]] = {}
    refusals: Mapping[str, str] = {}
    seen_ranks: Mapping[str, tuple[tuple[int, ...], ...]] = {}
    neighbour_correlation: float | None = None
    channel_correlation: float | None = None
    least_scheme: str = ""
    least_rank: tuple[int, ...] = ()
    least_macs: int | None = None


class Inspection(Document):
    """Where the time goes, and how separable each layer is.

    Attributes:
        operators: operator type → milliseconds of one run, layout changes included.
    """

    model: str
    environment: Mapping[str, Any]
    data: Mapping[str, Any]
    energy_shares: tuple[float, ...]
    layers: tuple[LayerInspection, ...]
    operators: Mapping[str, float]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        share = sum(layer.share or 0.0 for layer in self.layers)
        whole = sum(self.operators.values())
        return (
            f"<Inspection of {self.model}: {len(self.layers)} convolutions take {100 * share:.0f} % "
            f"of {whole:.3g} ms>"
        )

    __str__ = __repr__


class BenchRow(Frozen):
    """One model of a benchmark: its timing, and how it compares with the first."""

    model: str
    timing: Mapping[str, float]
    speedup: Mapping[str, Any] | None = None


class Bench(Document):
    """Interleaved timing of several models."""

    environment: Mapping[str, Any]
    data: Mapping[str, Any]
    rows: tuple[BenchRow, ...]

    def __repr__(self) -> str:
        said = (
            f"{row.model} {row.timing['median_ms']:.3g} ms"
            + (f", {row.speedup['verdict']}" if row.speedup else "")
            for row in self.rows
        )
        return f"<Bench {'; '.join(said)}>"

    __str__ = __repr__


__all__ = [
    "SCHEMA_VERSION",
    "Bench",
    "BenchRow",
    "FrontPoint",
    "Inspection",
    "Layer",
    "LayerInspection",
    "Picture",
    "Report",
    "Speed",
    "Totals",
]
