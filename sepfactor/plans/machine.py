"""A machine's layer times as a file, so that a plan can be made elsewhere for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from sepfactor.errors import PlanError

_MOST_BYTES = 256 * 2**20


class MachineProfile(BaseModel):
    """How long a network, its layers and their candidates take on one machine.

    Attributes:
        model: name of the file. fingerprint: SHA-256 of its convolution weights.
        environment: of the machine.
        original_ms, prepared_ms: one run of the network, as loaded and made plain.
        layers: output name of a Conv → milliseconds in the network.
        times: what was timed of candidates, by shape.
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
        return MachineProfile.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PlanError(
            f"There is no profile {path}. Make one with `sepfactor profile MODEL -o {path}`."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"The profile {path} cannot be read: {error}.") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise PlanError(
            f"{path} is not a profile: {place + ': ' if place else ''}{first['msg']}. "
            "Make it again with `sepfactor profile`."
        ) from None
