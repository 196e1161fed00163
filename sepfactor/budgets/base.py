"""What a budget limits, and when it is kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sepfactor.measure.tasks import Unit
from sepfactor.measure.tasks.embedding import LEAST_NEIGHBOURS
from sepfactor.results import JudgedOn, LimitResult, Quality, QualityKind
from sepfactor.words import plural

How = Literal["measured", "predicted"]
"""Where a time comes from; all else is counted."""

_ROUNDING = 1e-9
"""A limit that is passed by less is kept."""


@dataclass(frozen=True)
class Cost:
    """What a layer, or a network, costs.

    Attributes:
        ms: milliseconds of one run.
        macs: multiply-accumulates in convolutions.
        parameters: weights and biases of convolutions.
        bytes: that these take in the file.
    """

    ms: float = 0.0
    macs: float = 0.0
    parameters: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.ms + other.ms,
            self.macs + other.macs,
            self.parameters + other.parameters,
            self.bytes + other.bytes,
        )


class CostLimit(ABC):
    """A limit on something that adds up over layers: one file in this package, one line in its registry.

    Attributes:
        option: the field of :class:`~sepfactor.options.Options` that asks for it.
        of_time: whether it limits time, which is checked by timing what was built.
    """

    option: ClassVar[str]
    of_time: ClassVar[bool] = False

    @property
    @abstractmethod
    def text(self) -> str:
        """What is asked for, as people say it."""

    @abstractmethod
    def quantity(self, cost: Cost) -> float:
        """What of a cost is limited."""

    @abstractmethod
    def most(self, original: Cost) -> float:
        """The largest :meth:`quantity` of the whole network that keeps it.

        Args:
            original: what the network as handed in costs.
        """

    @property
    @abstractmethod
    def asked(self) -> float:
        """What is asked for, in the unit of the option; a share of 1 for percents."""

    @abstractmethod
    def reached(self, original: Cost, cost: Cost) -> float:
        """What a network comes to, in the same unit."""

    @abstractmethod
    def reached_text(self, original: Cost, cost: Cost, how: How) -> str:
        """The same as people say it."""

    def excess(self, original: Cost, cost: Cost) -> float:
        """How often over the limit a network is: up to 1 keeps it."""
        most = self.most(original)
        return self.quantity(cost) / most if most > 0 else float("inf") if self.quantity(cost) > 0 else 1.0

    def is_kept(self, original: Cost, cost: Cost) -> bool:
        """Whether a network is within the limit."""
        return self.excess(original, cost) <= 1 + _ROUNDING

    def next_aim(self, aim: float, bound: float, cost: Cost) -> float:
        """What to aim at where aiming at ``aim`` to keep within ``bound`` came to ``cost``.

        Times are off by a factor; sizes by what no layer accounts for, where that is over the bound.
        """
        reached = self.quantity(cost)
        return aim * bound / max(reached, 1e-9) if self.of_time else aim - max(reached - bound, 0.0)

    def result(self, original: Cost, cost: Cost, how: How) -> LimitResult:
        """Whether a network keeps it."""
        kept = self.is_kept(original, cost)
        return LimitResult(
            code=option_name(self.option),
            asked=self.asked,
            reached=self.reached(original, cost),
            is_met=kept,
            text=f"{self.text}: {'kept' if kept else 'not kept'}, {self.reached_text(original, cost, how)}",
        )


def option_name(field: str) -> str:
    """The name of an option as people type it."""
    return field.replace("_", "-")


@dataclass(frozen=True)
class QualityLimit(ABC):
    """A limit on what is lost.

    Attributes:
        kind: what is measured, see :class:`~sepfactor.results.Quality`.
        text: what is asked for, as people say it.
        most: the largest :meth:`loss` that keeps it.
        exponent: how the loss goes with divergence.
        option: the field of :class:`~sepfactor.options.Options` that asks for it.
        dense: by which noise outputs are judged even where they look like class scores.
        estimates: whether accuracy is estimated without labels.
        of_classes: whether outputs are judged by classes wherever they have the shape of class scores.
        is_told: whether it is said where it is kept, too.
    """

    kind: QualityKind
    text: str
    most: float
    exponent: float

    option: ClassVar[str]
    dense: ClassVar[Unit] = None
    estimates: ClassVar[bool] = False
    of_classes: ClassVar[bool] = False
    is_told: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def of(cls, asked: Any, kind: QualityKind, original_score: float) -> QualityLimit:
        """The limit on scores of a kind.

        Args:
            asked: what was asked for.
            kind: of quality, as the outputs and the data allow it.
            original_score: of a user's metric.

        Raises:
            OptionError: it does not fit the outputs.
        """

    @classmethod
    def default(cls, kind: QualityKind) -> Any:  # noqa: ARG003 — for those that have one
        """What is asked for where nothing is, of outputs of this kind; None if another limit serves them."""
        return None

    @abstractmethod
    def loss(self, quality: Quality) -> float:
        """What is lost, as a number that rises with the loss."""

    @property
    @abstractmethod
    def asked(self) -> float:
        """What is asked for, in the unit of the option; a share of 1 for percents."""

    @abstractmethod
    def reached(self, quality: Quality) -> float:
        """What was measured, in the same unit."""

    @abstractmethod
    def reached_text(self, quality: Quality) -> str:
        """The same as people say it."""

    def is_kept(self, quality: Quality) -> bool:
        """Whether it is within the limit, by the pessimistic end of what is known."""
        return self.loss(quality) <= self.most * (1 + _ROUNDING)

    def unshown(self, quality: Quality) -> str | None:
        """Why figures within the limit show nothing; None where they show that it is kept.

        What is off by rounding alone on data that it was not fitted to needs no further samples.
        """
        if quality.divergence <= LOSSLESS and quality.judged_on != "fitted":
            return None
        least = LEAST_SAMPLES.get(self.kind, 1)
        if quality.judged_on == "fitted":
            return (
                f"the data were fitted to, and at least {least} samples must be held out: give {least} more"
            )
        if quality.samples < least:
            given = plural(quality.samples, f"{WHAT[quality.judged_on]} sample")
            return f"{given} of at least {least}: give {least - quality.samples} more"
        return None

    def result(self, quality: Quality) -> LimitResult:
        """Whether a network of this quality keeps it, and it is shown."""
        kept, unshown = self.is_kept(quality), self.unshown(quality)
        reached = self.reached_text(quality)
        if quality.changed:
            reached += f"; the shape of {quality.output!r} changed in {plural(quality.changed, 'run')}"
        if kept and unshown is not None:
            said = f"not shown on so few, {unshown} ({reached})"
        else:
            said = f"{'kept' if kept else 'not kept'}, {reached}"
        return LimitResult(
            code=option_name(self.option),
            asked=self.asked,
            reached=self.reached(quality),
            is_met=kept and unshown is None,
            text=f"{self.text}: {said}",
        )


LOSSLESS = 1e-10
"""Divergence of what is off by rounding in float32 alone: 100 dB."""

LEAST_SAMPLES: Mapping[QualityKind, int] = {
    **dict.fromkeys(("snr", "psnr", "boxes", "characters", "overlap"), 4),
    **dict.fromkeys(("top-1", "agreement", "estimate", "mAP@0.5", "mAP@0.5:0.95"), 8),
    "cosine": LEAST_NEIGHBOURS,
}
"""Images under which nothing is claimed: too few for an interval, to tell how leads change, or who is
nearest, without which a cosine says little of what embeddings are for."""

WHAT: Mapping[JudgedOn, str] = {
    "held-out": "held-out",
    "fitted": "fitted",
    "made-up": "made-up",
    "eval-data": "evaluation",
}
"""What samples are called."""


def too_few(quality: Quality) -> Iterator[str]:
    """Of which figures nothing is claimed, as they are of so few samples, in sentences.

    What is off by rounding alone shows as much of one.
    """
    for one in (quality, *quality.others):
        least = LEAST_SAMPLES.get(one.kind, 1)
        if one.samples < least and one.divergence > LOSSLESS:
            yield (
                f"Nothing is claimed of {one.kind}, which is of {plural(one.samples, 'sample')} of at least "
                f"{least}: give {least - one.samples} more."
            )
