"""What to do next where a budget is not kept, or nothing was replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sepfactor.report.model import Layer, Report
from sepfactor.report.reasons import in_general


def where_not_kept(options: Mapping[str, Any], otherwise: str) -> str:
    """After a budget that no plan keeps, by the options asked for; ``otherwise`` takes what there is."""
    steps = []
    if any(options.get(name) is not None for name in _COSTS):
        steps.append(f"ask for less ({', '.join(f'--{n}' for n in _COSTS if options.get(n) is not None)})")
    if any(options.get(name) is not None for name in _QUALITIES):
        steps.append(f"allow a larger loss ({_larger_loss(options, '')})")
    return _sentence([*steps, otherwise])


def where_nothing_is_replaced(report: Report) -> str:
    """After a run that kept every layer."""
    options, steps = report.options, []
    reasons = Counter(in_general(layer.reason) for layer in report.layers)
    if report.budget is not None and "agreement" in report.budget.verdict:
        allowed = options.get("max-drop") or "1%"
        steps.append(f"estimate what is lost, instead of counting (--max-estimated-drop {allowed})")
    if report.budget is not None and _NO_CANDIDATE not in report.budget.verdict:
        steps.append(f"allow a larger loss ({_larger_loss(options, report.budget.verdict)})")
    elif report.budget is None and options.get("rank") is not None:
        steps.append(f"try a smaller --rank than {options['rank']}")
    elif report.budget is None and any(reason.startswith("nothing cheaper stays") for reason in reasons):
        allowed = options.get("max-error")
        steps.append(f"allow larger errors (--max-error {2 * allowed if allowed else 0.1:g})")
    if report.data.get("synthetic"):
        steps.append("give --data, so that factors are fitted to what the network will see")
    if not steps and _mostly_slow(report.layers):
        steps.append("quantise to int8, since no factors ran faster on this machine")
    return _sentence([*steps, "see with `sepfactor inspect` where the time goes"])


_COSTS = ("speedup", "latency-ms", "max-macs", "max-params")
_NO_CANDIDATE = "nothing can be made faster"
"""What the verdict says where no budget would have helped."""

_QUALITIES = ("max-drop", "max-estimated-drop", "min-snr", "min-psnr")


def _larger_loss(options: Mapping[str, Any], verdict: str) -> str:
    """A flag that allows more than was asked for, or than holds by default."""
    for name in ("min-snr", "min-psnr"):
        if options.get(name) is not None:
            return f"--{name} {options[name] - 5:g}"
    for name in ("max-drop", "max-estimated-drop"):
        if options.get(name) is not None:
            return f"--{name} above {options[name]}"
    return "--min-snr 30" if "dB" in verdict else "--max-drop 2%"


def _mostly_slow(layers: Sequence[Layer]) -> bool:
    slow = sum(layer.reason.startswith("put back") for layer in layers)
    return 2 * slow >= len(layers)


def _sentence(steps: Sequence[str]) -> str:
    *first, last = steps
    text = f"{', '.join(first)}, or {last}" if first else last
    return f"Next: {text}."
