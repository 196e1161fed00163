"""One number for what a network lost, to choose plans by; for labels, classes, images, or a user's metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from sepfactor.errors import DataError, ModelError
from sepfactor.measure.flips import expected_loss, expected_share, leads
from sepfactor.measure.metrics import (
    Noise,
    class_divergences,
    estimated_losses,
    log_scores,
    looks_like_class_scores,
)
from sepfactor.measure.session import Feed, run

if TYPE_CHECKING:
    from onnxruntime.capi.onnxruntime_inference_collection import InferenceSession

Array = NDArray[Any]
Kind = Literal["top-1", "agreement", "estimate", "snr", "psnr", "metric"]
Dense = Literal["snr", "psnr"] | None
Metric = Callable[[Mapping[str, Array], Mapping[str, Array]], float]
"""A user's own: outputs and inputs of one run → score, higher is better."""


@dataclass(frozen=True)
class Quality:
    """What a result is worth beside the original, on the same data.

    Attributes:
        kind: what was measured. ``top-1`` and ``agreement`` are shares of 1, ``snr`` and ``psnr`` dB.
            ``estimate`` is the mean probability, as the original has it, of the class that is answered: its
            top-1 accuracy, if it is neither too sure of itself nor too unsure.
        original, result: the score of each; of ``agreement`` and ``snr`` the original has none to speak of.
        expected: of classes, the score of the result as estimated from all pairs of leads and changes;
            else ``result``.
        divergence: mean KL of the classes, or squared error over squared output: what sensitivity is
            measured in.
        samples: judged on.
    """

    kind: Kind
    original: float
    result: float
    expected: float
    divergence: float
    samples: int

    @property
    def drop(self) -> float:
        """By how much the expected score is below the original's."""
        return self.original - self.expected

    def as_dict(self) -> dict[str, Any]:
        """The fields and the drop, with None for what JSON does not know."""
        plain = {**asdict(self), "drop": self.drop}
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in plain.items()}


@dataclass(frozen=True, eq=False)
class _Seen:
    """Of some samples, ``(N,)`` each.

    Attributes:
        before, after: leads of the class that counts, of the original and the result.
        likely: sum of the original's two largest probabilities. sure: its largest one.
        still_sure: its probability of the class that the result answers.
    """

    before: Array
    after: Array
    likely: Array
    sure: Array
    still_sure: Array


class Judge:
    """Compares any model with the original on the same feeds.

    The original is run once, and what it answered is kept in memory.

    Args:
        original: its session.
        feeds: inputs.
        labels: true classes, by run, or None.
        dense: judge by signal to noise even where outputs look like class scores.
        metric: a user's own, instead.
        estimate: go by the original's probabilities of classes, not by labels or agreement.
    """

    def __init__(
        self,
        original: InferenceSession,
        feeds: Sequence[Feed],
        labels: Array | None = None,
        *,
        dense: Dense = None,
        metric: Metric | None = None,
        estimate: bool = False,
    ) -> None:
        if not len(feeds):
            raise DataError("There is no data to judge on: give at least two inputs.")
        self.feeds = feeds
        self._metric, self._labels, self._estimate = metric, None if estimate else labels, estimate
        self._names = [output.name for output in original.get_outputs()]
        self._original = [run(original, feed) for feed in feeds]
        first = self._original[0]
        scores = [i for i, output in enumerate(first) if looks_like_class_scores(output)]
        floats = [i for i, output in enumerate(first) if output.dtype.kind == "f"]
        self._by_class_wanted = dense is None and metric is None
        by_class = bool(scores) and dense is None and (labels is not None or scores == floats)
        self._scored = scores[:1] if by_class else []
        self._floats = floats
        if not self._is_labelled():
            self._labels = None
        self.kind: Kind = self._choose_kind(dense)
        self._session = original
        self._fitted: list[Feed] = []
        self._fitted_answers: list[list[Array]] = []
        self._fitted_labels: Array | None = None

    def learn(self, feeds: Sequence[Feed], labels: Array | None) -> None:
        """Take further feeds into account that results were fitted to.

        The original's leads on them are as good as any. Changes on them are too small by as much as the
        fit is better there than on held-out data; so they count after being stretched by that.
        """
        if self._labels is None:
            labels = None
        if not self._scored or not len(feeds) or (labels is None) != (self._labels is None):
            return
        answers = [run(self._session, feed) for feed in feeds]
        if labels is not None and not _is_known(labels, answers, self._scored, self._names):
            return
        self._fitted, self._fitted_answers, self._fitted_labels = list(feeds), answers, labels

    def _choose_kind(self, dense: Dense) -> Kind:
        if self._metric is not None:
            return "metric"
        if self._scored:
            return "estimate" if self._estimate else "agreement" if self._labels is None else "top-1"
        return dense or "snr"

    @property
    def original_score(self) -> float:
        """The original's mean by the user's metric; 1 where there is none."""
        if self._metric is None:
            return 1.0
        named = (dict(zip(self._names, outputs, strict=True)) for outputs in self._original)
        scores = [float(self._metric(outputs, feed)) for outputs, feed in zip(named, self.feeds, strict=True)]
        return float(np.mean(scores))

    def __call__(self, candidate: InferenceSession, count: int | None = None) -> Quality:
        """The quality of ``candidate`` on the first ``count`` feeds, or all.

        Raises:
            ModelError: it lacks an output.
        """
        pairs = list(zip(self._original[:count], self._answers(candidate, self.feeds[:count]), strict=True))
        divergence = self._divergence(pairs)
        divergence = divergence if math.isfinite(divergence) else math.inf
        if self._metric is not None:
            return self._by_metric(pairs, divergence)
        if self._scored:
            return self._by_class(pairs, candidate, divergence)
        return self._by_noise(pairs, divergence)

    def _answers(self, session: InferenceSession, feeds: Sequence[Feed]) -> list[list[Array]]:
        order = [output.name for output in session.get_outputs()]
        if not set(self._names) <= set(order):
            raise ModelError(f"The model lacks the output {min(set(self._names) - set(order))!r}.")
        at = [order.index(name) for name in self._names]
        answers = []
        for feed in feeds:
            values = run(session, feed)
            answers.append([values[i] for i in at])
        return answers

    def _divergence(self, pairs: Sequence[tuple[list[Array], list[Array]]]) -> float:
        if self._scored:
            i = self._scored[0]
            found = [class_divergences(_rows(a[i]), _rows(b[i])) for a, b in pairs]
            return float(np.mean(np.concatenate(found)))
        # Each output by its own size, so that none drowns the others.
        return float(np.mean([10 ** (-self._noise(pairs, i).snr_db / 10) for i in self._floats] or [0.0]))

    def _noise(self, pairs: Sequence[tuple[list[Array], list[Array]]], i: int) -> Noise:
        noise = Noise()
        for a, b in pairs:
            if a[i].shape == b[i].shape:
                noise.update(a[i], b[i])
        return noise

    def _by_noise(self, pairs: Sequence[tuple[list[Array], list[Array]]], divergence: float) -> Quality:
        noises = [self._noise(pairs, i) for i in self._floats]
        found = [n.psnr_db if self.kind == "psnr" else n.snr_db for n in noises]
        worst = min(found, default=math.inf)
        return Quality(self.kind, math.inf, worst, worst, divergence, len(pairs))

    def _by_metric(self, pairs: Sequence[tuple[list[Array], list[Array]]], divergence: float) -> Quality:
        assert self._metric is not None
        sums = [0.0, 0.0]
        for feed, pair in zip(self.feeds, pairs, strict=False):
            for side, outputs in enumerate(pair):
                sums[side] += float(self._metric(dict(zip(self._names, outputs, strict=True)), feed))
        original, result = (total / len(pairs) for total in sums)
        return Quality("metric", original, result, result, divergence, len(pairs))

    def _by_class(
        self,
        pairs: Sequence[tuple[list[Array], list[Array]]],
        candidate: InferenceSession,
        divergence: float,
    ) -> Quality:
        seen = self._seen(pairs, None if self._labels is None else self._labels[: len(pairs)])
        every, moved, likely = seen.before, seen.after, seen.likely
        if self._fitted and len(pairs) == len(self.feeds):
            answers = self._answers(candidate, self._fitted)
            more = self._seen(list(zip(self._fitted_answers, answers, strict=True)), self._fitted_labels)
            stretched = _stretched(more.before, more.after, seen.after - seen.before)
            every, moved = np.concatenate([every, more.before]), np.concatenate([moved, stretched])
            likely = np.concatenate([likely, more.likely])
        if self._estimate:
            original, result = (float(np.mean(side)) for side in (seen.sure, seen.still_sure))
            expected = original - expected_loss(every, moved, likely)
        else:
            original, result = (float(np.mean(side >= 0)) for side in (seen.before, seen.after))
            expected = expected_share(every, moved, every) - float(np.mean(every >= 0)) + original
        return Quality(self.kind, original, result, expected, divergence, len(seen.before))

    def _seen(self, pairs: Sequence[tuple[list[Array], list[Array]]], labels: Array | None) -> _Seen:
        i = self._scored[0]
        before, after = (log_scores(np.concatenate([_rows(p[s][i]) for p in pairs])) for s in (0, 1))
        classes, known = _classes(before, labels)
        before, after, classes = before[known], after[known], classes[known]
        likely = np.exp(before)
        sure = likely.max(axis=1)
        return _Seen(
            leads(before, classes),
            leads(after, classes),
            np.sort(likely, axis=1)[:, -2:].sum(axis=1),
            sure,
            sure - estimated_losses(before, after),
        )

    def _is_labelled(self) -> bool:
        """Whether any label is known.

        Raises:
            DataError: one is of no class, or there are not as many as samples.
        """
        if self._labels is None or self._metric is not None or not self._by_class_wanted:
            return False
        return _is_known(self._labels, self._original, self._scored, self._names)


def _stretched(before: Array, after: Array, changes: Array) -> Array:
    """``after`` with changes made as large as ``changes`` are, if they are smaller."""
    both = np.isfinite(before) & np.isfinite(after)
    size, wanted = (
        float(np.sqrt(np.mean(c[np.isfinite(c)] ** 2))) for c in ((after - before)[both], changes)
    )
    factor = max(1.0, wanted / size) if size > 0 else 1.0
    return np.where(both, before + factor * (after - before), after)


def _is_known(
    labels: Array, answers: Sequence[list[Array]], scored: Sequence[int], names: Sequence[str]
) -> bool:
    """Whether any label is known.

    Raises:
        DataError: there is nothing to compare them with, or one is of no class.
    """
    if not scored:
        raise DataError("No output holds class scores (N, C) to compare with labels. Leave the labels out.")
    rows, classes = sum(len(a[scored[0]]) for a in answers), answers[0][scored[0]].shape[1]
    flat = np.asarray(labels).reshape(-1)
    wrong = flat[(flat < -1) | (flat >= classes)]
    if len(flat) != rows or len(wrong):
        what = f"The label {wrong[0]} is of no class" if len(wrong) else f"{len(flat)} labels do not fit"
        raise DataError(
            f"{what} of output {names[scored[0]]!r}, {rows} samples of {classes} classes: give one index "
            f"from 0 to {classes - 1} per sample, -1 where it is unknown."
        )
    return bool((flat >= 0).any())


def _classes(scores: Array, labels: Array | None) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The class whose lead counts, of each row, and which of them are known."""
    if labels is None:
        return scores.argmax(axis=1).astype(np.int64), np.ones(len(scores), bool)
    classes = np.asarray(labels).reshape(-1).astype(np.int64)
    return classes, classes >= 0


def _rows(scores: Array) -> Array:
    return scores.reshape(scores.shape[0], scores.shape[1])
