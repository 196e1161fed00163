"""What figures depend on: the machine, the software and the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from sepfactor.results.base import Amount, Count, Frozen, Probability
from sepfactor.results.timing import Clock
from sepfactor.words import by

ENGINE_TITLES = {"openvino": "OpenVINO"}
"""Name of an engine, as users type it → as it is written, where that differs."""


class Environment(Frozen):
    """What figures depend on beside the model; printed with every one of them.

    Attributes:
        engine: what ran networks to be timed and judged: ``onnxruntime``, ``openvino``,
            ``onnxruntime-web`` or ``ncnn``.
        engine_version: of that.
        precision: that it computes networks of float32 in, unless they say otherwise.
        onnxruntime: version; it answers in float32 what results are fitted and compared to.
        onnx: version.
        numpy: version.
        sepfactor: version.
        processor: name.
        physical_cores: of the machine; None if it does not say.
        logical_cores: of the machine.
        usable_cores: logical cores this process may run on.
        threads: as asked for; 0 is onnxruntime's default.
        provider: full name.
        platform: operating system and machine.
        python: version.
        clock: what times are of: ``cpu``, the work of the processor, or ``wall``, the time that passed.
        load: how many threads wanted a core in the last minute, on average (load average); None if the
            system does not say.
        taken: share of a moment in which other programs kept this one from its core.
    """

    onnxruntime: str
    onnx: str
    numpy: str
    sepfactor: str
    processor: str
    physical_cores: Count | None
    logical_cores: Count
    usable_cores: Count
    threads: Count
    provider: str
    platform: str
    python: str
    engine: str = "onnxruntime"
    engine_version: str = ""
    precision: str = "float32"
    clock: Clock = "wall"
    load: Amount | None = None
    taken: Probability = 0.0

    @property
    def line(self) -> str:
        """What every figure depends on, in a line."""
        name = ENGINE_TITLES.get(self.engine, self.engine)
        amount = {0: f"{name}'s own number of threads", 1: "1 thread"}.get(
            self.threads, f"{self.threads} threads"
        )
        kind = "" if self.precision == "float32" else f" in {self.precision}"
        load = "" if self.load is None else f", load {self.load:.1f} on {self.usable_cores} cores"
        return (
            f"{name} {self.engine_version or self.onnxruntime}, {self.provider}{kind}, {self.processor}, "
            f"{amount}, all graph optimisations{load}"
        )


@dataclass(frozen=True)
class ImageSettings:
    """How an image becomes an input: ``(pixel · scale − mean) / std``, channel by channel.

    Attributes:
        color: order of the channels fed; ``auto`` is gray for one channel, else RGB.
        scale: factor on pixels 0..255.
        mean: one value, or one per channel in the order fed, in scaled units; empty: 0.
        std: likewise; empty: 1.
        layout: ``nchw`` or ``nhwc``.
        resize: shorter side in pixels before the centre crop; ``None``: as small as the crop allows.
        letterbox: whether images are fitted whole into the input, with borders, and not cut.
        border: value of pixels of those borders, 0..255.
    """

    color: Literal["auto", "rgb", "bgr", "gray"] = "auto"
    scale: float = 1 / 255
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: Literal["nchw", "nhwc"] = "nchw"
    resize: int | None = None
    letterbox: bool = False
    border: int = 114


_FEW = 3
"""So many inputs are told of with their shapes."""


class Data(Frozen):
    """What the networks were run on.

    Attributes:
        description: of the data that layers were observed on.
        fitted_on: samples that factors were fitted to.
        judged_on: description of the data that figures are of.
        synthetic: whether those are made up, so that no accuracy is claimed.
        samples: judged on.
        labels: whether their classes, or boxes, are known.
        targets: whether it is known what the output should be.
        seed: of everything that is drawn.
        preprocessing: how images became inputs; None where no image was involved.
        shapes: of the first run judged on, by input: what was fed where the network leaves it open.
    """

    description: str
    fitted_on: Count
    judged_on: str
    synthetic: bool
    samples: Count
    labels: bool
    targets: bool
    seed: int
    preprocessing: ImageSettings | None
    shapes: Mapping[str, tuple[Count, ...]] = Field(default_factory=dict)

    @property
    def shapes_text(self) -> str:
        """What was fed: ``image 1×3×224×224``; of many inputs the first few."""
        named = [f"{name} {by(shape) or 'one number'}" for name, shape in self.shapes.items()]
        more = f" and {len(named) - _FEW} more" if len(named) > _FEW else ""
        return ", ".join(named[:_FEW]) + more

    @property
    def line(self) -> str:
        """What layers were observed on, and in which shapes."""
        return f"{self.description}; {self.shapes_text}" if self.shapes else self.description

    @property
    def judged_line(self) -> str:
        """What figures are of, and in which shapes."""
        return f"{self.judged_on}; {self.shapes_text}" if self.shapes else self.judged_on

    @property
    def samples_text(self) -> str:
        """What was judged on: ``500 held-out images``."""
        plural = "" if self.samples == 1 else "s"
        if self.synthetic:
            return f"{self.samples} synthetic image{plural}"
        kind = "image" if self.preprocessing else "sample"
        held_out = "held-out " if self.fitted_on and self.judged_on != self.description else ""
        return f"{self.samples} {held_out}{kind}{plural}"


class MemoryUse(Frozen):
    """What a run took of memory.

    Attributes:
        allowed: bytes that data, maps and moments may take (``memory``).
        peak: bytes that the process took at its height, with weights and all that onnxruntime took to run
            networks, which nobody can bound; None if the system does not say.
        put_away: bytes that had no room in memory, and went to a temporary file.
    """

    allowed: Count
    peak: Count | None
    put_away: Count = 0

    @property
    def line(self) -> str:
        """``1.2 GB at its height; 2 GB allowed for data, beside weights and what onnxruntime takes``."""
        peak = "of unknown height" if self.peak is None else f"{_bytes(self.peak)} at its height"
        away = f"; {_bytes(self.put_away)} put into a temporary file" if self.put_away else ""
        allowed = f"{_bytes(self.allowed)} allowed for data, beside weights and what onnxruntime takes"
        return f"{peak}; {allowed}{away}"


def _bytes(number: int) -> str:
    return f"{number / 1e9:.3g} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


__all__ = ["ENGINE_TITLES", "Data", "Environment", "ImageSettings", "MemoryUse"]
