"""What a user can ask for: one definition for keyword arguments, TOML, the command line and its page.

A field of :class:`Options` is a keyword argument of :func:`sepfactor.compress` and, with hyphens, a key of a
config file and a flag. Its text is the flag's help and its line in ``docs/options.md``.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from sepfactor.amounts import Amount, exact_bytes, to_amount, to_bytes, to_count
from sepfactor.config import as_toml, read_toml
from sepfactor.contradictions import QUALITIES, contradiction
from sepfactor.errors import OptionError
from sepfactor.layer_options import LayerOptions, Names, Numbers, asked, fits, kebab, merged
from sepfactor.uses import check_used, used_by

DEFAULT_MAX_ERROR = 0.05


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


_Bytes = Annotated[int, BeforeValidator(to_bytes), PlainSerializer(exact_bytes), Field(ge=1)]
_Loss = Annotated[Amount, BeforeValidator(to_amount), PlainSerializer(Amount.exact)]
_Count = Annotated[Amount, BeforeValidator(to_count), PlainSerializer(Amount.exact)]


OBJECTS = ("plan", "metric", "data", "eval_data", "labels", "targets")
"""Options that programs may give as objects."""


class Options(LayerOptions):
    """Everything :func:`sepfactor.compress` can be told."""

    ignore: Names = asked(
        (), "Leave these layers alone: names of nodes or outputs, or globs of them.", metavar="GLOB"
    )
    linear_layers: bool = asked(
        False, "Factor fully connected layers too: Gemm and MatMul with constant weights."
    )
    dequantize: bool = asked(
        False, "Make weights and values behind DequantizeLinear float, so that their layers can be factored."
    )
    tidy: bool = asked(
        True,
        "Rewrite the network exactly before anything is factored, as `sepfactor tidy` does: where that is "
        "faster, and equal to rounding.",
    )
    layers: Mapping[str, LayerOptions] = Field(
        default_factory=dict,
        description="Other options for the layers of a name, or that a glob fits: name or glob → options. A "
        "rank holds under a budget too, which is then met by the other layers.",
    )
    max_drop: _Loss | None = asked(
        None,
        "Budget: accuracy that may be lost, such as 1%; of --metric, a number in its unit, or a share of the "
        "score.",
        metavar="X",
        shown="1%, or 35 dB SNR",
    )
    max_estimated_drop: _Loss | None = asked(
        None,
        "Budget: accuracy that may be lost, such as 1%, estimated without labels, from how likely the "
        "original holds its classes to be.",
        metavar="X",
    )
    min_snr: float | None = asked(
        None,
        "Budget: signal to noise that outputs must keep against the original's.",
        metavar="DB",
        allow_inf_nan=False,
    )
    min_psnr: float | None = asked(
        None, "Budget: the same as peak signal to noise.", metavar="DB", allow_inf_nan=False
    )
    speedup: float | None = asked(
        None,
        "Budget: be X times faster than the original file, at the least loss.",
        metavar="X",
        gt=0,
        allow_inf_nan=False,
    )
    latency_ms: float | None = asked(
        None, "Budget: one run takes at most so long.", metavar="MS", gt=0, allow_inf_nan=False
    )
    max_macs: _Count | None = asked(
        None, "Budget: multiply-accumulates left in all convolutions: 50%, or 300M.", metavar="X"
    )
    max_params: _Count | None = asked(
        None, "Budget: parameters left in all convolutions: 50%, or 2M.", metavar="X"
    )
    metric: Any = asked(
        None,
        "Judge by your own function (outputs, inputs) → score of one run, higher is better.",
        metavar="FILE.py:FN",
    )
    task: Literal["classifier", "detector", "segmentation", "text", "embedding", "dense"] | None = asked(
        None,
        "What outputs are, and so how they are judged, where that is not recognised.",
    )
    int8: bool = asked(
        False,
        "Let layers and what is between them compute in 8-bit integers, factored or not, where that is "
        "faster and keeps the budget.",
    )
    reduce_range: bool = asked(
        False,
        "With --int8, weights of 7 bits: no sum of two products saturates on x86 without VNNI.",
    )
    tune: float | None = asked(
        None,
        "Tune weights for so many seconds towards what the original answers, without labels; needs the extra "
        "`tune`.",
        metavar="SECONDS",
        gt=0,
        allow_inf_nan=False,
    )
    plan: Any = asked(None, "Build this plan instead of choosing.", metavar="PLAN")
    profile: Path | None = asked(
        None, "Choose by another machine's layer times, from `sepfactor profile`.", metavar="FILE"
    )
    force: bool = asked(False, "Write the closest result where the budget cannot be kept.")
    cache: bool = asked(True, "Remember layer times on disk, and use those remembered.")
    data: Any = asked(
        None,
        "Inputs to fit and judge on: .npz, .npy, a folder of them, of images or of .wav files, or "
        "file.py:function. Without it, synthetic images are used, and no accuracy is claimed.",
        metavar="X",
    )
    eval_data: Any = asked(
        None, "Other inputs to judge on, instead of the held-out part of --data.", metavar="X"
    )
    held_out: float | None = asked(
        None,
        "Share of --data never fitted to: a third of it chooses, the rest judges.",
        metavar="SHARE",
        shown="0.25, more of few",
        gt=0,
        lt=1,
    )
    refit: bool = asked(True, "Fit the factors to the activations; else they are those of the bare weights.")
    memory: _Bytes = asked(
        2 * 10**9,
        "What data, maps, answers and moments may take together; more goes to a temporary file: 2GB, 500MB.",
        metavar="SIZE",
        shown="2GB",
        ge=1,
    )
    labels: Any = asked(
        None,
        "True classes (.npy, .npz, .csv), or boxes (COCO's .json, a folder of YOLO's .txt, .npz), of "
        "--eval-data, or of --data where there is none. What names images serves both. An array 'labels' in "
        "the .npz itself needs no flag.",
        metavar="Y",
    )
    targets: Any = asked(
        None, "What dense outputs should be, for their PSNR against the truth (.npy, .npz).", metavar="Z"
    )
    input_shape: Mapping[str, tuple[int, ...]] = Field(
        default_factory=dict, description="Fix symbolic dimensions of an input: name → shape."
    )
    color: Literal["auto", "rgb", "bgr", "gray"] = asked("auto", "Channel order of images.")
    scale: float = asked(
        1 / 255, "Factor on pixels 0..255 of images; 1 leaves them.", metavar="X", shown="1/255"
    )
    mean: Numbers = asked(
        (), "Subtracted from scaled pixels, one or one per channel: 0.485 at the usual scale, 123.7 at 1."
    )
    std: Numbers = asked((), "Divides what is left, one or one per channel, in the unit of --mean.")
    layout: Literal["nchw", "nhwc"] = asked("nchw", "Axis order of inputs made of images.")
    resize: int | None = asked(None, "Shorter side of images before the centre crop.", metavar="PIXELS", ge=1)
    letterbox: bool = asked(
        False,
        "Fit images whole into the input, with borders, as YOLO does; instead of the centre crop.",
    )
    border: int = asked(
        114, "Value of pixels in the borders of --letterbox, before --scale.", metavar="0..255", ge=0, le=255
    )
    sample_rate: int | None = asked(
        None,
        "Rate at which the network hears sounds, which .wav files of another are resampled to.",
        metavar="HZ",
        shown="that of the files",
        ge=1,
        le=768_000,
    )
    limit: int | None = asked(None, "Use at most so many samples.", metavar="N", ge=1)
    engine: Literal["onnxruntime", "openvino", "onnxruntime-web", "ncnn", "all"] = asked(
        "onnxruntime",
        "What networks are timed and judged in, and so planned for; bench takes all that are installed.",
    )
    threads: int = asked(1, "Of the engine; 0 leaves it to the engine.", metavar="N", ge=0)
    provider: str = asked("cpu", "Execution provider of onnxruntime, or device of OpenVINO.", metavar="NAME")
    seed: int = asked(0, "Of everything random.", metavar="N", ge=0)
    overwrite: bool = asked(False, "Replace existing output files.")
    bench_seconds: float = asked(
        8.0,
        "Time spent on timing the whole networks, at most: it ends when the interval is narrow. A busy "
        "machine takes up to three times as long for it. 0 leaves it out.",
        metavar="S",
        shown="8",
        ge=0,
        allow_inf_nan=False,
    )
    pictures: bool = asked(True, "Show samples on which the networks differ, where they are images.")

    @property
    def limits_quality(self) -> bool:
        """Whether a budget is set for what may be lost."""
        return any(getattr(self, name) is not None for name in QUALITIES)

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

    _layer_names: frozenset[str] = PrivateAttr(frozenset())

    @model_validator(mode="after")
    def _go_together(self) -> Options:
        found = contradiction(self)
        if found is not None:
            raise ValueError(found)
        return self

    @model_validator(mode="after")
    def _losses_can_be(self) -> Options:
        for name, of_classes in (("max_drop", self.metric is None), ("max_estimated_drop", True)):
            drop: Amount | None = getattr(self, name)
            if drop is None or not of_classes or not drop.value:
                continue
            if not drop.is_share:
                share = f"{drop.value:g}% or {100 * drop.value:g}%" if drop.value < 1 else f"{drop.value:g}%"
                raise ValueError(f"{kebab(name)} {drop} has no unit: say {share}")
            if drop.value >= 1:
                raise ValueError(
                    f"{kebab(name)} {drop} leaves no class right: say 1% for one point of a hundred"
                )
        return self

    def for_network(self, layer_names: Iterable[str]) -> Options:
        """The same for a network whose layers go by these names: a pattern that is one of them is no glob."""
        found = self.model_copy()
        found._layer_names = frozenset(layer_names)
        return found

    def for_layer(self, *names: str) -> LayerOptions:
        """What holds for a layer of these names: the tables in ``layers`` that fit, over the general rule.

        A ``rank`` holds under a budget as well, where only a table can name one: that layer takes it, and
        what is left of the budget is for the others. A ``max_error`` bounds each layer, whatever the budget.
        """
        if any(self.matches(pattern, names) for pattern in self.ignore):
            return LayerOptions(keep=True)
        chosen = LayerOptions(scheme=self.scheme, rank=self.rank, max_error=self.max_error, keep=self.keep)
        for pattern, own in self.layers.items():
            if self.matches(pattern, names):
                chosen = merged(chosen, own)
        return chosen

    def matches(self, pattern: str, names: Collection[str]) -> bool:
        """Whether ``pattern`` is one of ``names``, or a glob that fits one, case and all."""
        return fits(pattern, names, self._layer_names)

    def globs(self) -> tuple[str, ...]:
        """Every pattern that names layers."""
        return (*self.ignore, *self.layers)

    def to_toml(self) -> str:
        """As a config file of what differs from the defaults: :func:`make_options` reads the same from it.

        Raises:
            OptionError: one of them is an object of the program, which no file can hold.
        """
        # Objects as they are, and not as pydantic would take them apart.
        objects = {kebab(name): getattr(self, name) for name in OBJECTS}
        plain = self.model_dump(by_alias=True, exclude=set(OBJECTS), exclude_none=True, exclude_defaults=True)
        values = plain | objects
        values["layers"] = {
            glob: own.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)
            for glob, own in self.layers.items()
        }
        return as_toml({name: value for name, value in values.items() if value is not None})


def make_options(
    given: Mapping[str, Any],
    config: str | os.PathLike[str] | None = None,
    beneath: Mapping[str, Any] = MappingProxyType({}),
    *,
    function: str | None = None,
    also: Collection[str] = (),
) -> Options:
    """Options from a TOML file, overridden by what is ``given``; both go before what lies ``beneath``.

    Args:
        given: option → value, where None is as if it were not given.
        config: a TOML file, which several commands may share: what ``function`` does not use is passed over.
        beneath: what holds where neither of them says anything.
        function: that the options are for, which refuses those it does not use; None uses all.
        also: options that its caller uses.

    Raises:
        OptionError: a key is unknown, a value does not fit, or ``function`` does not use what is given; the
            message names it.
    """
    if function is not None:
        check_used(function, given, also)
    file = None if config is None else Path(config)
    read = read_toml(file) if file is not None else {}
    if function is not None:
        read = {name: read[name] for name in read if name in {*also, *used_by(function, read)}}
    values = {kebab(name): value for name, value in (*beneath.items(), *read.items())}
    if given.get("rank") is not None:
        values.pop("max-error", None)
    if given.get("max_error") is not None:
        values.pop("rank", None)
    values |= {kebab(name): value for name, value in given.items() if value is not None}
    try:
        return Options.model_validate(values)
    except ValidationError as error:
        raise OptionError(_explain(error, file)) from None


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

    name = kebab(place[-1])
    known = [kebab(field) for field in (Options if len(place) == 1 else LayerOptions).model_fields]
    near = difflib.get_close_matches(name, known, 1)
    if near:
        return f" Did you mean {near[0]}?"
    if len(place) == 1:
        return ""
    whole = f" {name} is of the whole network." if name in map(kebab, Options.model_fields) else ""
    return f"{whole} For a layer there are {', '.join(known)}."


__all__ = ["DEFAULT_MAX_ERROR", "LayerOptions", "Options", "default_text", "make_options"]
