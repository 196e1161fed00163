"""What to do next where a budget is not kept, or nothing was replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sepfactor.results import Budget, Report


def where_not_kept(options: Mapping[str, Any], otherwise: str) -> str:
    """After a budget that no plan keeps, by the options asked for; ``otherwise`` takes what there is."""
    steps = []
    if any(options.get(name) is not None for name in _COSTS):
        steps.append(f"ask for less ({', '.join(f'--{n}' for n in _COSTS if options.get(n) is not None)})")
    if any(options.get(name) is not None for name in _QUALITIES):
        steps.append(f"allow a larger loss ({_larger_loss(options, None)})")
    return _sentence([*steps, otherwise])


def where_nothing_is_replaced(report: Report) -> str:
    """After a run that kept every layer."""
    options, budget = report.options, report.budget
    codes = [layer.reason.code for layer in report.layers if layer.reason is not None]
    steps = []
    if budget is not None:
        steps += _beside_a_budget(options, budget)
    elif options.get("rank") is not None:
        steps.append(f"try a smaller --rank than {options['rank']}")
    elif "too-far-off" in codes:
        allowed = _number(options.get("max-error"))
        steps.append(f"allow larger errors (--max-error {2 * allowed if allowed else 0.1:g})")
    if report.data.synthetic:
        steps.append("give --data, so that factors are fitted to what the network will see")
    if not steps and 2 * sum(code in _SLOW for code in codes) >= len(report.layers):
        steps.append("quantise to int8, since no factors ran faster on this machine")
    return _sentence([*steps, "see with `sepfactor inspect` where the time goes"])


def _beside_a_budget(options: Mapping[str, Any], budget: Budget) -> list[str]:
    steps = []
    if budget.counts == "agreement":
        allowed = options.get("max-drop") or "1%"
        steps.append(f"estimate what is lost, instead of counting (--max-estimated-drop {allowed})")
    if budget.verdict.code != "nothing-faster":  # else no budget would have helped
        steps.append(f"allow a larger loss ({_larger_loss(options, budget)})")
    return steps


_COSTS = ("speedup", "latency-ms", "max-macs", "max-params")
_QUALITIES = ("max-drop", "max-estimated-drop", "min-snr", "min-psnr")

_SLOW = ("no-faster", "leaves-layout")
"""Codes of layers whose candidates were not fast enough."""


def _larger_loss(options: Mapping[str, Any], budget: Budget | None) -> str:
    """A flag that allows more than was asked for, or than holds by default."""
    for name in ("min-snr", "min-psnr"):
        asked = _number(options.get(name))
        if asked is not None:
            return f"--{name} {asked - 5:g}"
    for name in ("max-drop", "max-estimated-drop"):
        if options.get(name) is not None:
            return f"--{name} above {options[name]}"
    is_noise = budget is not None and budget.counts in ("snr", "psnr")
    return "--min-snr 30" if is_noise else "--max-drop 2%"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _sentence(steps: Sequence[str]) -> str:
    *first, last = steps
    text = f"{', '.join(first)}, or {last}" if first else last
    return f"Next: {text}."
