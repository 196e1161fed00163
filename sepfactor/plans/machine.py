"""A machine's layer times as a file, so that a plan can be made elsewhere for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from typing_extensions import Self

from sepfactor.errors import PlanError
from sepfactor.files import read_text

_MOST_BYTES = 256 * 2**20


class BorderTimes(BaseModel):
    """Milliseconds a number, of crossing borders with maps of some sizes: large ones do not stay in caches.

    Attributes:
        sizes: of maps, in numbers, rising.
        up: of bringing an activation into eight bits.
        down: of bringing it back.
        sums: of a sum with what comes back: in float alone it would be part of the convolution before it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sizes: tuple[int, ...] = (1,)
    up: tuple[float, ...] = (0.0,)
    down: tuple[float, ...] = (0.0,)
    sums: tuple[float, ...] = (0.0,)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if len({len(values) for values in (self.sizes, self.up, self.down, self.sums)}) > 1:
            raise ValueError("sizes, up, down and sums must be of one length")
        if not self.sizes or self.sizes[0] < 1 or any(a >= b for a, b in pairwise(self.sizes)):
            raise ValueError("sizes must be whole numbers from 1 up that rise")
        return self

    def of(self, rates: Sequence[float], size: int) -> float:
        """Milliseconds for a map of this size, by one of the rates."""
        return size * float(np.interp(math.log(max(size, 1)), np.log(self.sizes), rates))


class Int8Times(BaseModel):
    """What a network takes in eight bits on one machine.

    Attributes:
        layers: output name of a Conv → milliseconds, dense, where all that can be is in eight bits.
        nodes: name of a node beside the layers → milliseconds beyond what it takes in float; less than
            nothing where it is faster.
        borders: what changing between float and eight bits costs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: Mapping[str, float] = {}
    nodes: Mapping[str, float] = {}
    borders: BorderTimes = BorderTimes()


class MachineProfile(BaseModel):
    """How long a network, its layers and their candidates take on one machine.

    Attributes:
        model: name of the file. fingerprint: SHA-256 of its convolution weights.
        environment: of the machine.
        original_ms, prepared_ms: one run of the network, as loaded and made plain.
        layers: output name of a Conv → milliseconds in the network.
        times: what was timed of candidates, by shape.
        int8: the network in eight bits; None where that was not asked for.
        notes: what a reader must know of it, in sentences.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: str = "1.0"
    sepfactor_version: str
    model: str
    fingerprint: str
    environment: Mapping[str, Any]
    original_ms: float
    prepared_ms: float
    layers: Mapping[str, float]
    times: Mapping[str, Mapping[str, float]]
    int8: Int8Times | None = None
    notes: tuple[str, ...] = ()

    @property
    def engine(self) -> str:
        """That was timed."""
        return str(self.environment.get("engine", "onnxruntime"))

    def to_json(self) -> str:
        """Strict JSON."""
        return self.model_dump_json(indent=1)

    def __repr__(self) -> str:
        machine = self.environment.get("processor", "an unknown processor")
        return f"<MachineProfile of {self.model} on {machine}: {len(self.times)} candidates>"

    __str__ = __repr__


def read_profile(path: Path) -> MachineProfile:
    """A profile from its file.

    Raises:
        PlanError: it cannot be read, or is no profile.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise PlanError(f"{path} is too large for a profile. Name what `sepfactor profile` wrote.")
        return MachineProfile.model_validate_json(read_text(path))
    except FileNotFoundError:
        raise PlanError(
            f"There is no profile {path}. Make one with `sepfactor profile MODEL -o {path}`."
        ) from None
    except OSError as error:
        raise PlanError(f"The profile {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise PlanError(
            f"{path} is no text, and so no profile. Name what `sepfactor profile` wrote."
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise PlanError(
            f"{path} is not a profile: {place + ': ' if place else ''}{first['msg']}. "
            "Make it again with `sepfactor profile`."
        ) from None
