"""What a network is worth beside the original, in the measure of what its outputs are."""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from typing import Literal

from pydantic import Field

from sepfactor.results.base import Count, Frozen, Unbounded
from sepfactor.words import decibel, percent, points

QualityKind = Literal[
    "top-1",
    "agreement",
    "estimate",
    "mAP@0.5",
    "mAP@0.5:0.95",
    "boxes",
    "characters",
    "overlap",
    "cosine",
    "neighbours",
    "snr",
    "psnr",
    "metric",
    "scores",
]
OF_LABELLED_BOXES: tuple[QualityKind, ...] = ("mAP@0.5", "mAP@0.5:0.95")
"""How well true boxes are found."""

JudgedOn = Literal["held-out", "fitted", "made-up", "eval-data"]

_RUINED: Mapping[QualityKind, float] = {
    **dict.fromkeys(("scores", "boxes", "characters", "cosine"), 0.1),
    "snr": 2.0,
}
"""Scores up to which nothing is left: shares, and dB."""


class OutputTask(Frozen):
    """What outputs were taken for, and so how they are judged.

    Attributes:
        task: as ``--task`` calls it.
        outputs: that belong together.
        evidence: by what it was recognised.
    """

    task: str
    outputs: tuple[str, ...]
    evidence: str

    @property
    def line(self) -> str:
        """``detector: 'boxes', 'scores': boxes as SSD writes them, 4.2 an image above 0.25``."""
        return f"{self.task}: {', '.join(repr(name) for name in self.outputs)}: {self.evidence}"


class Quality(Frozen):
    """What a result is worth beside the original, on the same data, at the output of its kind that lost most.

    Attributes:
        kind: what was measured. ``top-1`` and ``agreement`` are shares of 1, ``snr`` and ``psnr`` dB.
            ``estimate`` is the mean probability, as the original has it, of the class that is answered: its
            top-1 accuracy, if it is neither too sure of itself nor too unsure. ``scores`` is the share of the
            variation of class scores that is kept: 1 − squared error over variance. ``boxes`` is the share of
            boxes that both have, the worse of lost and new ones; ``mAP@0.5`` and ``mAP@0.5:0.95`` say how
            well those of the labels are found. ``characters`` is the share of characters that need no edit;
            ``overlap`` the mean intersection over union of classes of pixels; ``cosine`` that of embeddings,
            and ``neighbours`` the share of samples of which the same one of the others is nearest.
        original: the score of the original; infinite of ``snr`` and ``psnr``, of which it has none.
        result: the score of the result.
        expected: of classes, the score of the result as estimated from all pairs of leads and changes;
            else ``result``.
        drop: by how much the expected score is below the original's; made from the figures.
        pessimistic: lower end of a one-sided 95 % interval of ``expected``, images counted as the unit, where
            there is one; else ``expected``.
        divergence: mean KL of the classes, or squared error over squared output: what sensitivity is
            measured in.
        samples: judged on.
        judged_on: what these are: ``held-out`` from fitting, ``fitted`` to, ``made-up``, or ``eval-data``.
        output: that lost most; None of a metric.
        where: its part that lost most; empty where it has one part.
        changed: runs in which its shape changed.
        trials: elements compared, where an element is right or wrong and nothing more is known of it.
        found: boxes of the original, or of the labels, that there were to find.
        is_varied: whether the original's answers vary enough for agreement to be evidence.
        others: the same of every other kind that counts.
    """

    kind: QualityKind
    original: Unbounded
    result: Unbounded
    expected: Unbounded
    drop: Unbounded = Field(
        default_factory=lambda scores: scores.get("original", nan) - scores.get("expected", nan)
    )
    pessimistic: Unbounded = Field(default_factory=lambda scores: scores.get("expected", nan))
    divergence: Unbounded
    samples: Count
    judged_on: JudgedOn = "held-out"
    output: str | None = None
    where: str = ""
    changed: Count = 0
    trials: Count | None = None
    found: Count | None = None
    is_varied: bool = True
    others: tuple[Quality, ...] = ()

    def is_worse_than(self, other: Quality) -> bool:
        """Of one kind, whether this lost more."""
        if self.is_noise:
            return self.pessimistic < other.pessimistic
        return self.original - self.pessimistic > other.original - other.pessimistic

    @property
    def is_ruined(self) -> bool:
        """Whether some output says next to nothing of what the original's says."""
        return any(one.result <= _RUINED[one.kind] for one in (self, *self.others) if one.kind in _RUINED)

    @property
    def line(self) -> str:
        """``41.2 % → 41.0 %, drop 0.20 points (up to 0.90 points)``; of noise ``48.1 dB``."""
        if self.is_noise:
            return f"{decibel(self.result)}{f' in {self.where}' * bool(self.where)}"
        most = self.original - self.pessimistic
        upper = f" (up to {points(most)})" if most > self.drop else ""
        return f"{percent(self.original)} → {percent(self.result)}, drop {points(self.drop)}{upper}"

    @property
    def is_noise(self) -> bool:
        """Whether scores are decibels."""
        return self.kind in ("snr", "psnr")


__all__ = ["OF_LABELLED_BOXES", "JudgedOn", "OutputTask", "Quality", "QualityKind"]
