"""The report in one sentence, and how it was measured in another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sepfactor.report.model import Planning, Report, Speed
from sepfactor.report.words import decibel, measured_with, percent, points


def verdict(report: Report) -> str:
    """What came of it, such as ``1.84× faster (95 % interval 1.81–1.88), top-1 71.2 → 70.9 % on …``."""
    if not report.totals.replaced:
        return f"Nothing of {report.model} was worth replacing"
    speed = speed_line(report.speed) if report.speed else _fewer(report)
    apart = report.speed is not None and report.speed.factorisation is not None
    said = f"{speed}{';' if apart else ','} {_accuracy(report)}"
    if report.stand_in:
        said = f"as measured on what stands in for it, since onnxruntime cannot run it: {said}"
    return said[0].upper() + said[1:]


def planning_verdict(planning: Planning) -> str:
    """What the plan is expected to do, or how far a front of plans reaches."""
    for point in planning.front:
        if point.chosen and point.speedup is not None:
            lost = "" if point.drop is None else f", {100 * point.drop:.2f} points of accuracy lost"
            noise = "" if point.snr_db is None else f", SNR {decibel(point.snr_db)}"
            return f"A plan for {planning.model}: {point.speedup:.2f}× as fast{lost}{noise}"
    speeds = [point.speedup for point in planning.front if point.speedup is not None]
    if not speeds:
        return f"A plan for {planning.model}, layer by layer"
    return f"{len(speeds)} plans for {planning.model}: {min(speeds):.2f}× to {max(speeds):.2f}× as fast"


def speed_line(speed: Speed) -> str:
    """How much faster; where tidying the graph alone changed the speed, also what factoring gained."""
    line = str(speed.speedup["verdict"])
    if speed.factorisation is None:
        return line
    tidied = speed.runs["original"]["median_ms"] / speed.runs["prepared"]["median_ms"]
    factored = str(speed.factorisation["verdict"]).replace(" faster", "")
    return f"{line}: tidying the graph alone {tidied:.2f}×, factoring alone {factored}"


def _fewer(report: Report) -> str:
    sums = report.totals
    fewer = f"{sums.macs_before / sums.macs_after:.2f}× fewer multiplications" if sums.macs_after else ""
    return f"{fewer or 'no multiplications left'} (not timed)"


def _accuracy(report: Report) -> str:
    output = _telling(report.accuracy)
    if output is None:
        return "outputs not compared"
    where = f"on {samples(report)}"
    if report.data.get("synthetic"):
        where += ", so no accuracy is claimed"
    if output["mismatched"]:
        return f"but output {output['name']} has another shape than the original's"
    if output["relative_error"] is None:
        return f"but output {output['name']} is NOT FINITE where the original's is"
    if top := output.get("top1"):
        before, after = (100 * top[side]["value"] for side in ("reference", "candidate"))
        chance = ", a change that may be chance" if _may_be_chance(top) else ""
        return f"top-1 {before:.1f} → {after:.1f} % {where}{chance}"
    if target := output.get("target"):
        before, after = target["reference_psnr_db"], target["candidate_psnr_db"]
        return f"PSNR against the target {decibel(before)} → {decibel(after)} {where}"
    if output.get("agreement") is not None:
        lost = output.get("estimated_drop")
        about = "" if lost is None else f", about {points(lost)} of accuracy lost as estimated without labels"
        return f"same answer on {percent(output['agreement'])} {where}{about}"
    return f"output off by {percent(output['relative_error'])} (SNR {decibel(output['snr_db'])}) {where}"


def _may_be_chance(top: Mapping[str, Any]) -> bool:
    return bool(top["drop"]) and top.get("p_value", 0.0) >= 0.05


def _telling(accuracy: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The output compared with labels or targets, else the one that is furthest off."""
    outputs: list[Mapping[str, Any]] = list(accuracy["outputs"]) if accuracy else []
    for output in outputs:
        if output.get("top1") or output.get("target"):
            return output

    def off(output: Mapping[str, Any]) -> float:
        error = output["relative_error"]
        return float("inf") if error is None or output["mismatched"] else float(error)

    return max(outputs, key=off, default=None)


def samples(report: Report) -> str:
    """``500 held-out images``."""
    data = report.data
    count = data.get("samples")
    plural = "" if count == 1 else "s"
    if data.get("synthetic"):
        return f"{count} synthetic image{plural}"
    kind = "image" if data.get("preprocessing") else "sample"
    held_out = "held-out " if data.get("fitted_on") and data["judged_on"] != data.get("description") else ""
    return f"{count} {held_out}{kind}{plural}"


def measured(report: Report | Planning) -> str:
    """Software, processor, threads, data and seed, in a sentence."""
    data = report.data
    fitted = (
        f"; fitted on {data['fitted_on']} samples of {data.get('description')}"
        if data.get("fitted_on")
        else ""
    )
    return (
        f"Measured with {measured_with(report.environment)}. Judged on {data['judged_on']}{fitted}. "
        f"Seed {data.get('seed', 0)}."
    )
