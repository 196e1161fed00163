"""Whether two models differ in accuracy, or only by chance: the same samples, right or wrong with each.

Only samples that the two judge differently say anything. Of ``n`` samples let ``lost`` be those that only
the reference gets right, and ``gained`` those that only the candidate does::

    McNemar's exact test   p = min(1, 2 P(X ≤ min(lost, gained))),   X ~ Binomial(lost + gained, 1/2)
    95 % interval          d ± z √((a + b − d²) / (n + 2)),
                           a = (lost + 1) / (n + 2),  b = (gained + 1) / (n + 2),  d = a − b

The interval is that of Bonett and Price, *Adjusted Wald confidence interval for a difference of binomial
proportions based on paired data*, J. Educ. Behav. Stat. 37 (2012), which Fagerland, Lydersen and Laake
(Stat. Med. 33, 2014) recommend; it stays honest where nothing was lost and nothing gained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sepfactor.codes import Verdict
from sepfactor.words import signed

_Z = 1.959963984540054  # of a 95 % interval
_LEVEL = 0.05


@dataclass(frozen=True)
class PairedDrop:
    """By how much fewer samples the candidate gets right.

    Attributes:
        lost: samples that only the reference gets right.
        gained: samples that only the candidate gets right.
        total: samples in all.

    >>> PairedDrop(lost=9, gained=6, total=500).verdict.text
    'may be chance: 95 % interval −0.97 to 2.16 points, McNemar p = 0.61'
    """

    lost: int
    gained: int
    total: int

    @property
    def value(self) -> float:
        """Share lost; negative when the candidate is better."""
        return (self.lost - self.gained) / self.total

    @property
    def p_value(self) -> float:
        """Of McNemar's exact two-sided test that neither is better."""
        from scipy.special import bdtr  # here, for commands that compare nothing

        fewer, differing = min(self.lost, self.gained), self.lost + self.gained
        return min(1.0, 2.0 * float(bdtr(fewer, differing, 0.5))) if differing else 1.0

    @property
    def low(self) -> float:
        """Lower end of the interval of ``value``."""
        return max(-1.0, self._centre - self._half_width)

    @property
    def high(self) -> float:
        """Upper end of it."""
        return min(1.0, self._centre + self._half_width)

    @property
    def is_certain(self) -> bool:
        """Whether chance alone would seldom (5 %) do this."""
        return self.p_value < _LEVEL

    @property
    def verdict(self) -> Verdict:
        """What may be concluded: ``equal``, ``by-chance`` or ``certain``."""
        if not self.lost and not self.gained:
            code, said = "equal", "no sample differs"
        elif self.is_certain:
            code, said = "certain", "more than chance"
        else:
            code, said = "by-chance", "may be chance"
        low, high = (signed(100 * end, 2) for end in (self.low, self.high))
        return Verdict(code, f"{said}: 95 % interval {low} to {high} points, McNemar p = {self.p_value:.2g}")

    @property
    def _centre(self) -> float:
        return (self.lost - self.gained) / (self.total + 2)

    @property
    def _half_width(self) -> float:
        spread = (self.lost + self.gained + 2) / (self.total + 2) - self._centre**2
        return _Z * math.sqrt(spread / (self.total + 2))
