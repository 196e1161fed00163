"""The plan as a file: readable, editable, and enough to build the same network again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import to_jsonable_python

from sepfactor.codes import Precision, Reason
from sepfactor.errors import PlanError
from sepfactor.files import read_text

SCHEMA_VERSION = "2.4"
KEEP = "keep"

_MOST_BYTES = 64 * 2**20
"""No plan is larger; what is, is something else."""

_NOT_BUILT_BY = ("data", "memory")
"""Options of a plan on which no bit of the result depends: where data lie, how much is held at once."""

BY_HAND = "by-plan"
"""Code of a reason that somebody wrote into a plan."""


def _reason(value: Any) -> Any:
    """People write a sentence where programs write a code and a sentence."""
    return (Reason(BY_HAND, value) if value else None) if isinstance(value, str) else value


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class TimeAlone(_Frozen):
    """A layer alone, timed against what replaces it, between neighbours as it has them in the network.

    Attributes:
        speedup: time of the layer over that of its replacement.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
    """

    speedup: float
    low: float
    high: float


class PlannedLayer(_Frozen):
    """What becomes of one layer.

    Attributes:
        name: of its node.
        output: of the value it writes, by which it is found again.
        weight_shape: ``(out, in/group, *kernel)``, checked when the plan is applied.
        scheme: name of a scheme, or ``keep``.
        rank: of the scheme, one number or several; of ``average-first`` the block, empty for the whole map.
        precision: what the layer, or what stands for it, computes in.
        reason: why it is kept.
        error: relative output error expected of the layer alone.
        milliseconds: expected in the network, before and after.
        alone: as timed by itself; of a layer kept because nothing was faster, against the nearest candidate.
    """

    name: str
    output: str
    weight_shape: tuple[int, ...]
    scheme: str = KEEP
    rank: tuple[Annotated[int, Field(ge=1, le=2**31)], ...] = ()
    precision: Precision = "float"
    reason: Annotated[Reason | None, BeforeValidator(_reason)] = None
    error: float | None = None
    milliseconds: tuple[float, float] | None = None
    alone: TimeAlone | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the layer stays as it is, but for its precision."""
        return self.scheme == KEEP

    @property
    def is_int8(self) -> bool:
        """Whether it computes in eight bits."""
        return self.precision == "int8"


class ValueCodes(_Frozen):
    """What the 256 codes of an activation stand for: ``scale · (code − zero_point)``.

    Attributes:
        name: of the value, in the network as it is built.
        scale: of one step.
        zero_point: code of zero.
        channels: of each channel, in quarters of an octave, how much larger it is made beforehand, so that
            all use the codes alike; layers that read it have weights as much smaller. Empty where it is not.
    """

    name: str
    scale: float = Field(gt=0, allow_inf_nan=False)
    zero_point: int = Field(default=0, ge=0, le=255)
    channels: tuple[Annotated[int, Field(ge=-400, le=400)], ...] = ()


class Int8(_Frozen):
    """What a network computes in eight bits, beside the layers that say so.

    Attributes:
        nodes: output names of other nodes in eight bits.
        values: every activation in eight bits; empty until it is known what they are.
    """

    nodes: tuple[str, ...] = ()
    values: tuple[ValueCodes, ...] = ()


class Tune(_Frozen):
    """How weights are tuned once factors are fitted, without labels.

    Attributes:
        seconds: of the processor's time, from which the steps are reckoned where those are not known yet.
        steps: of the descent; with them the same can be done again.
    """

    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    steps: int | None = Field(default=None, ge=0, le=10**9)


class Plan(_Frozen):
    """The recipe: one choice for every convolution of a network, and all that building depends on besides.

    Attributes:
        schema_version: of the file.
        sepfactor_version: that made it.
        model: name of the file it was made for.
        fingerprint: SHA-256 of its convolution weights.
        options: what building depends on besides, as in a config file.
        data: what was given as an object of a program, which no file can name; empty where nothing was.
        effort: how carefully factors are fitted: in full, or as while plans are compared.
        rewrites: names of the exact rewritings that come first, see :mod:`sepfactor.graph.rewrites`.
        layers: one per convolution of the network as they leave it, in the order of the graph.
        int8: what is in eight bits; None where nothing is.
        tune: how weights are tuned in the end; None where they are not.
        environment: where it was made.
        expected: of the whole: speedup, quality.
        budget: what was asked for when it was chosen, as options; empty where that is not known.
    """

    schema_version: str = SCHEMA_VERSION
    sepfactor_version: str
    model: str
    fingerprint: str
    options: Mapping[str, Any]
    data: str = ""
    effort: Literal["full", "search"] = "full"
    rewrites: tuple[str, ...] = ()
    layers: tuple[PlannedLayer, ...]
    int8: Int8 | None = None
    tune: Tune | None = None
    environment: Mapping[str, Any] = Field(default_factory=dict)
    expected: Mapping[str, Any] = Field(default_factory=dict)
    budget: str = ""

    @property
    def replaced(self) -> int:
        """How many layers it replaces."""
        return sum(not layer.is_kept for layer in self.layers)

    def digest(self) -> str:
        """SHA-256 of what it decides. Times, errors, names and paths, which build nothing, do not count."""
        options = {name: value for name, value in self.options.items() if name not in _NOT_BUILT_BY}
        layers = [(one.output, one.scheme, one.rank) for one in self.layers if not one.is_kept]
        decided: list[Any] = [self.effort, self.rewrites, sorted(options.items()), layers]
        if self.int8 is not None:
            decided += [[one.output for one in self.layers if one.is_int8], self.int8]
        if self.tune is not None:
            decided.append(["tune", self.tune.steps])
        return hashlib.sha256(json.dumps(to_jsonable_python(decided)).encode()).hexdigest()

    def to_json(self) -> str:
        """Strict JSON, one field a line."""
        return self.model_dump_json(indent=2)

    def __repr__(self) -> str:
        first = f"{len(self.rewrites)} exact rewritings, " if self.rewrites else ""
        return f"<Plan for {self.model}: {first}{self.replaced} of {len(self.layers)} convolutions replaced>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """What becomes of each layer, for notebooks."""
        rows = [_cells(layer) for layer in self.layers]
        head = "".join(
            f"<th>{name}</th>" for name in ("Layer", "Weights", "By", "ms expected", "Why it stays")
        )
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        return f"<p>{escape(repr(self)[1:-1])}</p><table><tr>{head}</tr>{body}</table>"


def _cells(layer: PlannedLayer) -> tuple[str, ...]:
    by = "" if layer.is_kept else f"{layer.scheme} {'×'.join(map(str, layer.rank))}".strip()
    by += ", in eight bits" if layer.is_int8 else ""
    ms = "" if layer.milliseconds is None else "{:.3g} → {:.3g}".format(*layer.milliseconds)
    why = "" if layer.reason is None else str(layer.reason)
    return layer.name, "×".join(map(str, layer.weight_shape)), by.removeprefix(", "), ms, why


def read_plan(path: Path) -> Plan:
    """A plan from its file.

    Raises:
        PlanError: it cannot be read, or is no plan; the message says where.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise PlanError(f"{path} is too large for a plan. Name the JSON that `sepfactor plan` wrote.")
        text = read_text(path)
    except FileNotFoundError:
        raise PlanError(f"There is no plan {path}. Make one with `sepfactor plan MODEL -o {path}`.") from None
    except UnicodeDecodeError:
        raise PlanError(f"{path} is no text, and so no plan. Name what `sepfactor plan` wrote.") from None
    except OSError as error:
        raise PlanError(f"The plan {path} cannot be read: {error.strerror}.") from None
    return parse_plan(text, str(path))


def parse_plan(text: str, where: str) -> Plan:
    """A plan from JSON; ``where`` is for the message.

    Raises:
        PlanError: it is no plan.
    """
    try:
        plan = Plan.model_validate_json(text)
    except ValidationError as error:
        if (other := _other_than_a_plan(text)) is not None:
            raise PlanError(
                f"{where} is {other}, and no plan. Name what `sepfactor plan` or --save-plan wrote."
            ) from None
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise PlanError(
            f"{where} is not a plan: {place + ': ' if place else ''}{first['msg']}. "
            "Mend that line, or make it again with `sepfactor plan`."
        ) from None
    if plan.schema_version.split(".")[0] != SCHEMA_VERSION.split(".")[0]:
        raise PlanError(
            f"{where} is a plan of version {plan.schema_version}; this sepfactor reads "
            f"{SCHEMA_VERSION}. Make it again with `sepfactor plan`."
        )
    return plan


_OTHERS = {
    "totals": "a report, as --json writes it",
    "plans": "the report of planning, as --json writes it",
    "operators": "what inspect saw, as --json writes it",
    "times": "the profile of a machine",
}
"""What only one other kind of file that sepfactor writes has → what that is."""


def _other_than_a_plan(text: str) -> str | None:
    """Which other file of sepfactor's it is; None if it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    said = found if isinstance(found, dict) and "sepfactor_version" in found else {}
    return next((what for key, what in _OTHERS.items() if key in said), None)
