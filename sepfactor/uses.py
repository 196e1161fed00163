"""Which function uses which options.

Keyword arguments (:mod:`sepfactor.signatures`), flags of commands and their page are made from this table,
and by it a function refuses what it does not use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sepfactor.errors import OptionError


class Group(NamedTuple):
    """Options that the same functions use.

    Attributes:
        name: of the group, as its type in :mod:`sepfactor.signatures` is called.
        options: fields of :class:`sepfactor.options.Options`, in the order in which help lists them.
        functions: those of :mod:`sepfactor` that use them.
    """

    name: str
    options: tuple[str, ...]
    functions: tuple[str, ...]


_BUILD = ("compress", "plan", "apply")
_ALL = (*_BUILD, "profile", "tidy", "inspect", "bench", "compare")

GROUPS = (
    Group("QualityBudgets", ("max_drop", "max_estimated_drop", "min_snr", "min_psnr"), ("compress", "plan")),
    Group(
        "CostBudgets",
        ("speedup", "latency_ms", "max_macs", "max_params"),
        ("compress", "plan", "profile"),  # a profile holds the times of the candidates that suit them
    ),
    Group("Choosing", ("metric", "rank", "profile"), ("compress", "plan")),
    Group("Schemes", ("scheme",), ("compress", "plan", "profile", "inspect")),
    Group("Candidates", ("max_error", "cache"), ("compress", "plan", "profile")),
    Group("Layers", ("ignore", "layers", "keep"), (*_BUILD, "profile")),
    Group("Surveying", ("linear_layers", "dequantize"), (*_BUILD, "profile", "inspect")),
    Group("Precision", ("int8",), ("compress", "plan", "profile")),
    Group("Rounding", ("reduce_range",), ("compress", "plan")),
    Group("Tidying", ("tidy",), ("compress", "plan", "profile")),
    Group("Delivery", ("plan", "force"), ("compress",)),
    Group(
        "Data",
        (
            *("data", "input_shape", "sample_rate", "limit", "seed"),
            *("color", "scale", "mean", "std", "layout", "resize", "letterbox", "border"),
        ),
        _ALL,
    ),
    Group("Fitting", ("held_out", "refit", "memory"), (*_BUILD, "profile")),
    Group("Tuning", ("tune",), _BUILD),
    Group("Evaluation", ("eval_data",), _BUILD),
    Group("Labels", ("labels",), (*_BUILD, "compare")),
    Group("Judging", ("task",), ("compress", "plan", "compare")),
    Group("Comparison", ("targets", "pictures"), ("compress", "apply", "compare")),
    Group("Running", ("engine", "threads", "provider"), _ALL),
    Group("Timing", ("bench_seconds",), (*_BUILD, "profile", "tidy", "bench")),
    Group("Writing", ("overwrite",), ("compress", "apply", "tidy")),
)
"""Every option is in one of them."""

USES: Mapping[str, tuple[str, ...]] = {
    function: tuple(name for group in GROUPS if function in group.functions for name in group.options)
    for function in _ALL
}
"""Function → the options it uses."""

FRONT = "plan with pareto"
"""What errors call :func:`sepfactor.plan` where it looks for plans from mild to strong."""

_BY_BUDGET = {name for group in GROUPS[:2] for name in group.options} | {"rank"}
_MODES: Mapping[str, tuple[str, ...]] = {
    **USES,
    FRONT: tuple(name for name in USES["plan"] if name not in _BY_BUDGET),
}


def users_of(option: str) -> tuple[str, ...]:
    """The functions that use an option; none where there is no such option."""
    return next((group.functions for group in GROUPS if option in group.options), ())


def used_by(function: str, options: Iterable[str]) -> set[str]:
    """Those of ``options``, with hyphens or underscores, that a function uses, or that nobody knows."""
    return {name for name in options if _is_used(function, name.replace("-", "_"))}


def _is_used(function: str, option: str) -> bool:
    return option in _MODES[function] or not users_of(option)


def check_used(function: str, given: Mapping[str, object], also: Iterable[str] = ()) -> None:
    """Refuse options that a function would not look at.

    Args:
        function: name of a public function, or :data:`FRONT`.
        given: option → value; None is as if it were not given.
        also: options that its caller uses.

    Raises:
        OptionError: the message names the option, the function, and who uses it.
    """
    said = {name for name, value in given.items() if value is not None} - {*also}
    for name in sorted(said - used_by(function, said)):
        spelled = name.replace("_", "-")
        if function == FRONT:
            raise OptionError(
                f"{FRONT} does not use the option {spelled}: it goes from mild to strong, whatever a budget "
                "would allow. Leave out one of the two."
            )
        if function == "apply" and "plan" in users_of(name.replace("-", "_")):
            raise OptionError(
                f"Option {spelled} is for choosing a plan, and apply, or compress with a plan, builds the "
                f"one that is given. Leave {spelled} out, or make another plan with it."
            )
        users = users_of(name.replace("-", "_"))
        raise OptionError(
            f"{function} does not use the option {spelled}, which is one of {_listed(users)}. Leave it out."
        )


def _listed(names: tuple[str, ...]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
