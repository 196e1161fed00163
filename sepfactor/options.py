"""What a user can ask for: one definition for keyword arguments, TOML, the command line and its page.

A field of :class:`Options` is a keyword argument of :func:`sepfactor.compress` and, with hyphens, a key of a
config file and a flag. Its text is the flag's help and its line in ``docs/options.md``.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from sepfactor.amounts import Amount, to_amount, to_bytes
from sepfactor.config import as_toml, read_toml
from sepfactor.errors import OptionError

DEFAULT_MAX_ERROR = 0.05


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def _several(value: Any) -> Any:
    """One name or number, where several may stand, is a list of one."""
    return (value,) if isinstance(value, str | int | float) else value


_Names = Annotated[tuple[str, ...], BeforeValidator(_several)]
_Numbers = Annotated[tuple[float, ...], BeforeValidator(_several)]


def _asked(
    default: Any, text: str, *, metavar: str | None = None, shown: str | None = None, **limits: Any
) -> Any:
    """A field with what people read of it.

    Args:
        default: its value if not given.
        text: one or two sentences.
        metavar: what stands for its value in the help.
        shown: the default in words, where the value itself would say little.
        **limits: of pydantic, such as ``ge=1``.
    """
    extra: dict[str, Any] = {"metavar": metavar, "shown": shown}
    return Field(default=default, description=text, json_schema_extra=extra, **limits)


def default_text(name: str) -> str:
    """The default of an option in words; empty where there is none.

    >>> default_text("memory"), default_text("seed"), default_text("rank"), default_text("cache")
    ('2GB', '0', '', 'on')
    """
    field = Options.model_fields[name]
    extra = field.json_schema_extra
    if isinstance(extra, dict) and extra["shown"] is not None:
        return str(extra["shown"])
    if isinstance(field.default, bool):
        return "on" if field.default else ""
    return "" if field.default in (None, ()) or field.default_factory else f"{field.default}"


class _Frozen(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=_kebab,
        populate_by_name=True,
        arbitrary_types_allowed=True,
    )


_Bytes = Annotated[int, BeforeValidator(to_bytes), Field(ge=1)]


_Amount = Annotated[Amount, BeforeValidator(to_amount), PlainSerializer(Amount.exact)]


class LayerOptions(_Frozen):
    """How candidates of a layer are chosen; in a config file, a table ``[layers."GLOB"]``."""

    scheme: _Names = _asked((), "Use only these schemes, or families of schemes.", metavar="NAME")
    rank: int | None = _asked(None, "Use this rank everywhere, instead of a budget.", metavar="N", ge=1)
    max_error: float | None = _asked(
        None,
        "Relative output error each layer may have. Without a budget, the fastest within it.",
        metavar="X",
        ge=0,
        allow_inf_nan=False,
    )
    keep: bool = _asked(False, "Leave the layer alone.")

    @model_validator(mode="after")
    def _one_rule(self) -> LayerOptions:
        if self.rank is not None and self.max_error is not None:
            raise ValueError("rank and max-error exclude each other: give one of the two")
        return self


_OBJECTS = ("plan", "metric", "data", "eval_data", "labels", "targets")
"""Options that programs may give as objects."""


_QUALITIES = ("max_drop", "max_estimated_drop", "min_snr", "min_psnr")
"""Budgets for what may be lost, of which there can be one."""


class Options(LayerOptions):
    """Everything :func:`sepfactor.compress` can be told."""

    ignore: _Names = _asked((), "Leave these layers alone: globs of node or output names.", metavar="GLOB")
    linear_layers: bool = _asked(
        False, "Factor fully connected layers too: Gemm and MatMul with constant weights."
    )
    dequantize: bool = _asked(
        False, "Make weights and values behind DequantizeLinear float, so that their layers can be factored."
    )
    layers: Mapping[str, LayerOptions] = Field(
        default_factory=dict, description="Other wishes for the layers that a glob fits: glob → wishes."
    )
    max_drop: _Amount | None = _asked(
        None,
        "Budget: accuracy that may be lost, such as 1%; of --metric, in its unit or as a share of the score.",
        metavar="X",
        shown="1%, or 35 dB SNR",
    )
    max_estimated_drop: _Amount | None = _asked(
        None,
        "Budget: accuracy that may be lost, such as 1%, estimated without labels, from how likely the "
        "original holds its classes to be.",
        metavar="X",
    )
    min_snr: float | None = _asked(
        None,
        "Budget: signal to noise that outputs must keep against the original's.",
        metavar="DB",
        allow_inf_nan=False,
    )
    min_psnr: float | None = _asked(
        None, "Budget: the same as peak signal to noise.", metavar="DB", allow_inf_nan=False
    )
    speedup: float | None = _asked(
        None,
        "Budget: be X times faster than the original file, at the least loss.",
        metavar="X",
        gt=0,
        allow_inf_nan=False,
    )
    latency_ms: float | None = _asked(
        None, "Budget: one run takes at most so long.", metavar="MS", gt=0, allow_inf_nan=False
    )
    max_macs: _Amount | None = _asked(
        None, "Budget: multiply-accumulates left in all convolutions: 50%, or 300M.", metavar="X"
    )
    max_params: _Amount | None = _asked(
        None, "Budget: parameters left in all convolutions: 50%, or 2M.", metavar="X"
    )
    metric: Any = _asked(
        None,
        "Judge by your own function (outputs, inputs) → score of one run, higher is better.",
        metavar="FILE.py:FN",
    )
    plan: Any = _asked(None, "Build this plan instead of choosing.", metavar="PLAN")
    profile: Path | None = _asked(
        None, "Choose by another machine's layer times, from `sepfactor profile`.", metavar="FILE"
    )
    force: bool = _asked(False, "Write the closest result where the budget cannot be kept.")
    cache: bool = _asked(True, "Remember layer times on disk, and use those remembered.")
    data: Any = _asked(
        None,
        "Inputs to fit and judge on: .npz, .npy, a folder of them, a folder of images, or file.py:function. "
        "Without it, synthetic images are used, and no accuracy is claimed.",
        metavar="X",
    )
    eval_data: Any = _asked(
        None, "Other inputs to judge on, instead of the held-out part of --data.", metavar="X"
    )
    held_out: float = _asked(
        0.25, "Share of --data never fitted to, and judged on.", metavar="SHARE", gt=0, lt=1
    )
    refit: bool = _asked(True, "Fit the factors to the activations; else they are those of the bare weights.")
    memory: _Bytes = _asked(
        2 * 10**9,
        "What activations of calibration images may take, and the moments of one layer: 2GB, 500MB.",
        metavar="SIZE",
        shown="2GB",
        ge=1,
    )
    labels: Any = _asked(
        None,
        "True classes (.npy, .npz, .csv) of --eval-data, or of --data where there is none. A table that "
        "names images serves both. An array 'labels' in the .npz itself needs no flag.",
        metavar="Y",
    )
    targets: Any = _asked(
        None, "What dense outputs should be, for their PSNR against the truth (.npy, .npz).", metavar="Z"
    )
    input_shape: Mapping[str, tuple[int, ...]] = Field(
        default_factory=dict, description="Fix symbolic dimensions of an input: name → shape."
    )
    color: Literal["auto", "rgb", "bgr", "gray"] = _asked("auto", "Channel order of images.")
    scale: float = _asked(
        1 / 255, "Factor on pixels 0..255 of images; 1 leaves them.", metavar="X", shown="1/255"
    )
    mean: _Numbers = _asked(
        (), "Subtracted from scaled pixels, one or one per channel: 0.485 at the usual scale, 123.7 at 1."
    )
    std: _Numbers = _asked((), "Divides what is left, one or one per channel, in the unit of --mean.")
    layout: Literal["nchw", "nhwc"] = _asked("nchw", "Axis order of inputs made of images.")
    resize: int | None = _asked(
        None, "Shorter side of images before the centre crop.", metavar="PIXELS", ge=1
    )
    limit: int | None = _asked(None, "Use at most so many samples.", metavar="N", ge=1)
    threads: int = _asked(1, "Of onnxruntime; 0 leaves it to onnxruntime.", metavar="N", ge=0)
    provider: str = _asked("cpu", "Execution provider of onnxruntime.", metavar="NAME")
    seed: int = _asked(0, "Of everything random.", metavar="N", ge=0)
    overwrite: bool = _asked(False, "Replace existing output files.")
    bench_seconds: float = _asked(
        8.0,
        "Time spent on timing the whole networks, at most: it ends when the interval is narrow. 0 leaves it "
        "out.",
        metavar="S",
        shown="8",
        ge=0,
        allow_inf_nan=False,
    )
    pictures: bool = _asked(True, "Show samples on which the networks differ, where they are images.")

    @property
    def limits_quality(self) -> bool:
        """Whether a budget is set for what may be lost."""
        return any(getattr(self, name) is not None for name in _QUALITIES)

    @property
    def limits_cost(self) -> bool:
        """Whether a budget is set for time or size."""
        limits = (self.speedup, self.latency_ms, self.max_macs, self.max_params)
        return any(limit is not None for limit in limits)

    @property
    def has_rule(self) -> bool:
        """Whether layers are decided one by one: by a rank, or the error each may have."""
        return self.rank is not None or (
            self.max_error is not None and not (self.limits_quality or self.limits_cost)
        )

    @model_validator(mode="after")
    def _one_quality(self) -> Options:
        given = [name for name in _QUALITIES if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{_kebab(given[0])} and {_kebab(given[1])} exclude each other: give one")
        if self.metric is not None and given and given != ["max_drop"]:
            raise ValueError(
                f"metric and {_kebab(given[0])} exclude each other: max-drop says what a metric may lose"
            )
        if self.rank is not None and (self.limits_quality or self.limits_cost):
            raise ValueError("rank fixes the plan, so a budget has nothing to choose: give one of the two")
        return self

    def for_layer(self, *names: str) -> LayerOptions:
        """What holds for a layer of these names: the globs in ``layers`` that fit, over the general rule."""
        if any(self.matches(glob, names) for glob in self.ignore):
            return LayerOptions(keep=True)
        chosen = LayerOptions(scheme=self.scheme, rank=self.rank, max_error=self.max_error, keep=self.keep)
        for glob, own in self.layers.items():
            if self.matches(glob, names):
                chosen = _merged(chosen, own)
        return chosen

    @staticmethod
    def matches(glob: str, names: Iterable[str]) -> bool:
        """Whether ``glob`` fits any of ``names``, case and all."""
        return any(fnmatch.fnmatchcase(name, glob) for name in names)

    def globs(self) -> tuple[str, ...]:
        """Every pattern that names layers."""
        return (*self.ignore, *self.layers)

    def to_toml(self) -> str:
        """As a config file of what differs from the defaults: :func:`make_options` reads the same from it.

        Raises:
            OptionError: one of them is an object of the program, which no file can hold.
        """
        # Objects as they are, and not as pydantic would take them apart.
        objects = {_kebab(name): getattr(self, name) for name in _OBJECTS}
        plain = self.model_dump(
            by_alias=True, exclude=set(_OBJECTS), exclude_none=True, exclude_defaults=True
        )
        values = plain | objects
        values["layers"] = {
            glob: own.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)
            for glob, own in self.layers.items()
        }
        return as_toml({name: value for name, value in values.items() if value is not None})


def _merged(general: LayerOptions, own: LayerOptions) -> LayerOptions:
    said = {name: getattr(own, name) for name in own.model_fields_set}
    if "rank" in said:
        said.setdefault("max_error", None)
    if "max_error" in said:
        said.setdefault("rank", None)
    return general.model_copy(update=said)


def make_options(
    given: Mapping[str, Any], config: Path | None = None, beneath: Mapping[str, Any] = MappingProxyType({})
) -> Options:
    """Options from a TOML file, overridden by what is ``given``; both go before what lies ``beneath``.

    Raises:
        OptionError: a key is unknown or a value does not fit; the message names it.
    """
    read = read_toml(config) if config is not None else {}
    values = {_kebab(name): value for name, value in (*beneath.items(), *read.items())}
    if given.get("rank") is not None:
        values.pop("max-error", None)
    if given.get("max_error") is not None:
        values.pop("rank", None)
    values |= {_kebab(name): value for name, value in given.items() if value is not None}
    try:
        return Options.model_validate(values)
    except ValidationError as error:
        raise OptionError(_explain(error, config)) from None


def _explain(error: ValidationError, config: Path | None) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])[:200]  # what a file says may be of any length
    where = f" (options or {config})" if config is not None else ""
    if first["type"] == "extra_forbidden":
        return f"There is no option {key!r}{where}.{_hint(*map(str, first['loc']))}"
    message = first["msg"].removeprefix("Value error, ")
    return f"Option {key}{where}: {message}." if key else f"Of the options{where}, {message}."


def _hint(*place: str) -> str:
    """What may have been meant by an unknown key: at the top, or in the table of a layer."""
    import difflib

    name = _kebab(place[-1])
    known = [_kebab(field) for field in (Options if len(place) == 1 else LayerOptions).model_fields]
    near = difflib.get_close_matches(name, known, 1)
    if near:
        return f" Did you mean {near[0]}?"
    if len(place) == 1:
        return ""
    whole = f" {name} is of the whole network." if name in map(_kebab, Options.model_fields) else ""
    return f"{whole} For a layer there are {', '.join(known)}."
