"""Accuracy lost: ``--max-drop`` by labels, agreement or a metric, ``--max-estimated-drop`` without labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sepfactor.amounts import Amount
from sepfactor.budgets.base import LOSSLESS, WHAT, QualityLimit
from sepfactor.errors import OptionError
from sepfactor.results import OF_LABELLED_BOXES, Quality, QualityKind
from sepfactor.words import plural, points, signed

DEFAULT = Amount(0.01, True)
_DEFAULTS: Mapping[QualityKind, Amount] = {
    "boxes": Amount(0.02, True),
    "overlap": Amount(0.02, True),
    "cosine": Amount(0.005, True),
    "neighbours": Amount(0.1, True),
}
"""Of kinds of which a user would sign another share."""

_COUNTED = {
    "top-1": "top-1",
    "agreement": "agreement with the original",
    "estimate": "estimated top-1",
    "boxes": "the boxes",
    "mAP@0.5": "mAP@0.5",
    "mAP@0.5:0.95": "mAP@0.5:0.95",
    "characters": "the characters",
    "overlap": "the overlap of classes (mean IoU)",
    "cosine": "the cosine of embeddings",
    "neighbours": "nearest neighbours among these",
}
"""What is lost, by kind of quality."""

_COUNTED_ALONE: Sequence[QualityKind] = ("characters", "overlap", "cosine")
"""Kinds of which nothing more is known than what is counted."""

_EXPONENTS: Mapping[QualityKind, float] = {"estimate": 0.9, "cosine": 1.0}
"""How the loss goes with divergence."""

_Z_SQUARED = 1.6448536269514722**2
"""Of a one-sided 95 % interval."""


@dataclass(frozen=True)
class MaxDrop(QualityLimit):
    """At most so much of the original's score is lost."""

    option: ClassVar[str] = "max_drop"
    of_classes: ClassVar[bool] = True

    @classmethod
    def of(cls, asked: Amount, kind: QualityKind, original_score: float) -> MaxDrop:
        """The limit; of a metric in its unit, or as a share of the original's score."""
        if kind == "metric":
            return cls(kind, f"at most {asked} of the metric lost", asked.of(abs(original_score)), 0.7)
        if kind not in _COUNTED:
            flag = "--" + cls.option.replace("_", "-")
            raise OptionError(
                f"{flag} counts classes, and no output of this network holds class scores or labels. Say "
                "--min-snr 35 (dB against the original's output), --min-psnr, or give a --metric."
            )
        if not 0 <= asked.value < 1:
            raise OptionError(
                f"A drop of {asked} leaves no class right. Say --max-drop 1% for one point of a hundred."
            )
        unit = "point" if asked.value == 0.01 else "points"
        # Flips go with the root of the divergence, and so does what one of them costs where leads count.
        exponent = _EXPONENTS.get(kind, 0.7)
        return cls(
            kind, f"at most {100 * asked.value:g} {unit} of {_COUNTED[kind]} lost", asked.value, exponent
        )

    @classmethod
    def default(cls, kind: QualityKind) -> Amount | None:
        """One hundredth, of everything that has a score."""
        return _DEFAULTS.get(kind, DEFAULT) if kind == "metric" or kind in _COUNTED else None

    def loss(self, quality: Quality) -> float:
        """The expected drop, at the pessimistic end where there is one.

        On data that were given to judge on, what is counted there may not be more either.
        """
        lost = quality.original - quality.pessimistic
        if quality.judged_on == "eval-data":
            lost = max(lost, quality.original - quality.result)
        return max(lost, 0.0)

    def unshown(self, quality: Quality) -> str | None:
        """Also where the original's answers hardly vary, or too few were seen to say so small a share."""
        why = super().unshown(quality)
        if quality.divergence <= LOSSLESS and quality.trials is None:
            return why
        if why is None and not quality.is_varied and self.kind != "top-1":
            return (
                f"the original gives nearly all samples one class in {quality.output!r}, so that agreement "
                "says nothing: give data of several classes"
            )
        return why or self._too_few(quality)

    def _too_few(self, quality: Quality) -> str | None:
        """Where so small a share cannot be seen among so many."""
        share = max(self.most, 1e-9)
        if quality.trials is not None and self.kind in ("agreement", "characters"):
            seen, needed = quality.trials, math.ceil(_Z_SQUARED * (1 / share - 1))  # if all of them are equal
            counted = plural(seen, "character" if self.kind == "characters" else "answer")
        elif quality.found is not None:
            seen, needed = quality.found, math.ceil(1 / share)  # so that one of them is within the budget
            counted = plural(seen, "box", "boxes")
        else:
            return None
        if seen >= needed:
            return None
        lacking = max(math.ceil((needed - seen) * quality.samples / max(seen, 1)), 1)
        return f"{counted} of at least {needed}: give {lacking} samples more"

    @property
    def asked(self) -> float:
        """A share of 1; of a metric in its unit."""
        return self.most

    def reached(self, quality: Quality) -> float:
        """The expected drop."""
        return quality.drop

    def reached_text(self, quality: Quality) -> str:
        """``0.42 points (up to 0.80 points) expected from 25 held-out samples (0.00 counted)``."""
        what = WHAT[quality.judged_on]
        if self.kind == "metric":
            seen = plural(quality.samples, f"{what} run")
            return f"{quality.original:.4g} → {quality.result:.4g} on {seen}"
        seen = plural(quality.samples, f"{what} sample")
        most = ""
        if quality.pessimistic < quality.expected:
            most = f" (up to {points(quality.original - quality.pessimistic)})"
        if self.kind in _COUNTED_ALONE or quality.trials is not None:
            return f"{points(quality.drop)}{most} of {quality.output!r} on {seen}"
        if self.kind in OF_LABELLED_BOXES:
            return f"{quality.line} on {seen}"
        counted = f"({signed(100 * (quality.original - quality.result), 2)} counted)"
        if quality.found is not None:
            seen = f"{plural(quality.found, 'box', 'boxes')} on {seen}"
        return f"{points(quality.drop)}{most} expected from {seen} {counted}"


@dataclass(frozen=True)
class MaxEstimatedDrop(MaxDrop):
    """The same, estimated from how likely the original holds its classes to be."""

    option: ClassVar[str] = "max_estimated_drop"
    estimates: ClassVar[bool] = True
