"""What exact rewriting made of a network."""

from __future__ import annotations

from sepfactor.codes import Reason
from sepfactor.results.base import Amount, Count, Document, Frozen, Unbounded
from sepfactor.results.context import Data, Environment
from sepfactor.results.timing import Ratio, Timing
from sepfactor.words import decibel


class RewriteRow(Frozen):
    """One rule that found something.

    Attributes:
        rule: its name.
        does: what it does, in a sentence without a full stop.
        times: how often it was applied.
        reason: why its work is not in the result; None where it is.
        saves_ms: median of the network without it minus that with it, milliseconds; None where it was not
            timed.
        speedup: the network without it against that with it; None likewise.
    """

    rule: str
    does: str
    times: Count
    reason: Reason | None = None
    saves_ms: float | None = None
    speedup: Ratio | None = None

    @property
    def kept(self) -> bool:
        """Whether its work is in the result."""
        return self.reason is None


class Equality(Frozen):
    """How far an output of the result is from the original's.

    Attributes:
        name: of the output.
        snr_db: signal to noise, the least over the inputs, dB; null where all are equal bit for bit.
        rounding_snr_db: the same of the original against itself, run without optimisation by onnxruntime or
            fed numbers that are off in the last place: what rounding alone does.
        max_abs: largest difference.
        max_ulps: that, in units in the last place of the largest value.
    """

    name: str
    snr_db: Unbounded
    rounding_snr_db: Unbounded
    max_abs: Amount
    max_ulps: Amount


class Tidied(Document):
    """A network rewritten exactly.

    Attributes:
        schema_version: of the JSON.
        sepfactor_version: that made it.
        model: path or name of the network that was rewritten.
        output: the file that was written; None where there is none.
        is_changed: whether the result is another graph than the original.
        environment: machine and software.
        data: what the networks were run on.
        rules: one row a rule that found something.
        outputs: each output against the original's; none where the result is the original.
        original: time of the network as it was given.
        result: time of the network as it was written; None where that is the original.
        speedup: the original against the result; None likewise.
        seconds: that all of it took.
        stayed: why places that look like a rule's were not rewritten, in sentences.
        notes: what a reader must not miss.
    """

    model: str
    output: str | None
    is_changed: bool
    environment: Environment
    data: Data
    rules: tuple[RewriteRow, ...]
    outputs: tuple[Equality, ...]
    original: Timing
    result: Timing | None
    speedup: Ratio | None
    seconds: Amount
    stayed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """How much faster it is, such as ``1.35× faster (95 % interval 1.29–1.42)``."""
        if self.speedup is None:
            return "nothing was found that makes it measurably faster"
        return self.speedup.verdict.text

    @property
    def equality(self) -> str:
        """How equal the outputs are, by the least equal of them."""
        if not self.outputs:
            return "for the network is as it was"
        least = min(self.outputs, key=lambda output: output.snr_db)
        if not least.max_abs:
            return "bit for bit"
        return (
            f"to rounding: SNR {decibel(least.snr_db)} at {least.name}, {least.max_ulps:.1f} units in the "
            f"last place at most (rounding alone: {decibel(least.rounding_snr_db)})"
        )

    def __repr__(self) -> str:
        return f"<Tidied {self.model}: {self.headline}, equal {self.equality}>"

    __str__ = __repr__


__all__ = ["Equality", "RewriteRow", "Tidied"]
