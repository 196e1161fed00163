"""Noise: ``--min-snr`` and ``--min-psnr`` against the original's outputs, in dB."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from sepfactor.budgets.base import WHAT, QualityLimit
from sepfactor.measure.tasks import Unit
from sepfactor.results import Quality, QualityKind
from sepfactor.words import decibel, plural

DEFAULT_DB = 35.0


@dataclass(frozen=True)
class MinSnr(QualityLimit):
    """At least so much signal to noise."""

    option: ClassVar[str] = "min_snr"
    dense: ClassVar[Unit] = "snr"

    @classmethod
    def of(cls, asked: float, kind: QualityKind, original_score: float) -> MinSnr:  # noqa: ARG003 — of metrics
        """The limit of so many dB."""
        return cls(kind, f"{kind.upper()} at least {asked:g} dB", float(10 ** (-asked / 10)), 1.0)

    @classmethod
    def default(cls, kind: QualityKind) -> float | None:
        """35 dB, of dense outputs."""
        return DEFAULT_DB if kind in ("snr", "psnr") else None

    def loss(self, quality: Quality) -> float:
        """Noise over signal, at the pessimistic end."""
        return float(10 ** (-quality.pessimistic / 10))

    @property
    def asked(self) -> float:
        """Decibel."""
        return -10 * math.log10(self.most)

    def reached(self, quality: Quality) -> float:
        """Decibel."""
        return quality.expected

    def reached_text(self, quality: Quality) -> str:
        """``35.6 dB (at least 35.1 dB) in channels 0–3 of 'boxes' on 8 held-out runs``."""
        where = f" in {quality.where} of {quality.output!r}" if quality.where else ""
        end = f" (at least {decibel(quality.pessimistic)})" if quality.pessimistic < quality.expected else ""
        seen = plural(quality.samples, f"{WHAT[quality.judged_on]} run")
        return f"{decibel(quality.expected)}{end}{where} on {seen}"


@dataclass(frozen=True)
class MinPsnr(MinSnr):
    """At least so much peak signal to noise."""

    option: ClassVar[str] = "min_psnr"
    dense: ClassVar[Unit] = "psnr"
