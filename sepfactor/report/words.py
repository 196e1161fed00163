"""Figures as people read them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


def count(number: float | None) -> str:
    """``1.23 G``, ``45.6 M``, ``789``."""
    if number is None:
        return "–"
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * factor:  # what three digits round up to the next unit
            digits = ".3g" if number < 999.5 * factor else ".0f"
            return f"{number / factor:{digits}} {unit}"
    return f"{number:.0f}"


def milliseconds(value: float | None) -> str:
    """Three digits."""
    return "–" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def error(value: float | None, exact: bool) -> str:
    """A relative error in percent, or *lossless*."""
    return "–" if value is None else "lossless" if exact else percent(value)


def signed(value: float, digits: int) -> str:
    """So many digits behind the point, a minus sign before what is below 0, and none before 0 itself.

    >>> signed(-1.5, 2), signed(-0.001, 2)
    ('−1.50', '0.00')
    """
    return f"{value:z.{digits}f}".replace("-", "−")


def percent(share: Any) -> str:
    """Two or three digits, and never a bare 0 for what is not."""
    value = 100 * float(share)
    if value == 0 or not math.isfinite(value):
        return f"{value:g} %"
    if abs(value) < 0.01:
        return f"{value:.1e} %"
    return f"{signed(value, 2)} %" if value < 99.995 else "100 %"


def points(share: float) -> str:
    """A difference of two shares in points of a hundred: ``2.50 points``."""
    return f"{signed(100 * share, 2)} points"


def decibel(value: Any) -> str:
    """One digit behind the point; equal outputs have no noise."""
    number = math.inf if value is None else float(value)
    return "∞ dB" if math.isinf(number) and number > 0 else f"{signed(number, 1)} dB"


def file_size(number: int) -> str:
    """``1.23 MB``, ``45.6 kB``."""
    return f"{number / 1e6:.2f} MB" if number >= 1e5 else f"{number / 1e3:.1f} kB"


def output_line(output: Mapping[str, Any]) -> str:
    """How far an output is from the original's, in a line."""
    if output["mismatched"]:
        return f"its shape differs from the original's in {output['mismatched']} runs"
    if output["relative_error"] is None:
        return f"NOT FINITE in {output['nonfinite']} values that were finite in the original"
    parts = [f"off by {percent(output['relative_error'])}", f"SNR {decibel(output['snr_db'])}"]
    if output.get("agreement") is not None:
        agreement = output["agreement"]
        parts.append(f"same answer on {percent(agreement)} of {output['samples']}")
        if output.get("kl") is not None:
            parts.append(f"KL {output['kl']:.2g}")
        if output.get("estimated_drop") is not None and not output.get("top1"):
            parts.append(
                f"top-1 down by about {points(output['estimated_drop'])}, as estimated without labels"
            )
    else:
        parts.append(f"PSNR {decibel(output['psnr_db'])}")
    if output["cosine"] is not None:
        parts.append(f"cosine {signed(output['cosine'], 5)}")
    for key, label in (("top1", "top-1"), ("top5", "top-5")):
        if top := output.get(key):
            before, after = top["reference"]["value"], top["candidate"]["value"]
            differs = top.get("lost") != 0 or top.get("gained") != 0
            certainty = f"; {top['verdict']}" if top.get("verdict") else ""
            drop = f"drop {points(top['drop'])}{certainty}" if differs else "no sample differs"
            parts.append(f"{label} {percent(before)} → {percent(after)} ({drop})")
    if target := output.get("target"):
        before, after = target["reference_psnr_db"], target["candidate_psnr_db"]
        parts.append(f"against the target {decibel(before)} → {decibel(after)}")
    return ", ".join(parts)


def measured_with(environment: Mapping[str, Any]) -> str:
    """What every figure depends on, in a line."""
    threads = environment["threads"]
    amount = {0: "onnxruntime's own number of threads", 1: "1 thread"}.get(threads, f"{threads} threads")
    return (
        f"onnxruntime {environment['onnxruntime']}, {environment['provider']}, {environment['processor']}, "
        f"{amount}, all graph optimisations"
    )


def change(before: Any, after: Any, text: Callable[[Any], str]) -> str:
    """``12.3 M → 4.5 M``, or one of the two where they are equal, look it, or one is unknown."""
    if before is None or after is None or text(before) == text(after):
        return text(before if after is None else after)
    return f"{text(before)} → {text(after)}"


def saved(before: int, after: int, where: str = "") -> str:
    """``12.3 M → 4.5 M (2.73× fewer)``; ``where`` follows the figures."""
    if count(before) == count(after):
        return f"{count(before)}{where}, unchanged"
    ratio = f" ({before / after:.2f}× fewer)" if after and before > after else ""
    return f"{count(before)} → {count(after)}{where}{ratio}"


def kernel_text(shape: Sequence[int], group: int, strides: Sequence[int]) -> str:
    """``64→64 3×3 depthwise /2``, of a weight ``(out, in/group, *kernel)``."""
    if not shape:
        return "?"
    out, ins, *sides = shape
    text = f"{ins * group}→{out} {by(sides)}".rstrip()
    if group > 1:
        text += " depthwise" if ins == 1 and out == group else f" g{group}"
    if any(s > 1 for s in strides):
        text += f" /{strides[0] if len(set(strides)) == 1 else by(strides)}"
    return text


def sort_of(shapes: Iterable[Sequence[int]]) -> str:
    """What layers with weights of these shapes are called: *convolutions*, unless one is a matrix."""
    return "layers" if any(len(shape) == 2 for shape in shapes) else "convolutions"


def by(numbers: Sequence[int | str]) -> str:
    """``3×3``."""
    return "×".join(map(str, numbers))
