"""One number for what was lost: exact where it can be, less noisy than counting where it must estimate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from sepfactor.errors import DataError, ModelError
from sepfactor.measure.engine import Session
from sepfactor.measure.onnxruntime_engine import OnnxSession
from sepfactor.measure.quality import Judge
from tests.graph.build import model, session

CLASSES = 5


def opened(network: Any) -> Session:
    """A session of the engine."""
    return OnnxSession(session(network))


def scores(noise: float = 0.0, seed: int = 0) -> Session:
    """A session of ``(N, 8) → (N, 5)`` class scores, with noise on its weights."""
    rng = np.random.default_rng(seed)
    weight = np.random.default_rng(99).standard_normal((8, CLASSES))
    weight = (weight + noise * rng.standard_normal(weight.shape)).astype(np.float32)
    return opened(model("y = MatMul (x, w)", "float[N, 8] x", "float[N, 5] y", w=weight))


def image(noise: float = 0.0) -> Session:
    """A session of ``(N, 1, 4, 4) → (N, 1, 4, 4)``."""
    weight = np.float32([1.0 + noise]).reshape(1, 1, 1, 1)
    return opened(model("y = Mul (x, w)", "float[N, 1, 4, 4] x", "float[N, 1, 4, 4] y", w=weight))


def feeds(count: int, seed: int = 1) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.standard_normal((1, 8)).astype(np.float32)} for _ in range(count)]


def pictures(count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(5)
    return [{"x": rng.standard_normal((1, 1, 4, 4)).astype(np.float32)} for _ in range(count)]


def right(data: list[dict[str, np.ndarray]]) -> np.ndarray:
    """The original's classes, but for every fourth."""
    best = np.concatenate([scores().run(feed)[0] for feed in data]).argmax(1)
    return np.where(np.arange(len(best)) % 4 == 0, (best + 1) % CLASSES, best)


def two_heads() -> Session:
    """``(N, 8) → (N, 5)`` class scores that labels are of, and ``(N, 3)`` of other classes."""
    rng = np.random.default_rng(98)
    weights = {name: rng.standard_normal((8, size)).astype(np.float32) for name, size in (("w", 5), ("v", 3))}
    body = "y = MatMul (x, w)  z = MatMul (x, v)"
    return opened(model(body, "float[N, 8] x", "float[N, 5] y, float[N, 3] z", **weights))


class Counted:
    """A session, and how often it was run."""

    def __init__(self, session: Session) -> None:
        self._session, self.runs = session, 0
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

    def run(self, feed: Any) -> list[np.ndarray]:
        self.runs += 1
        return self._session.run(feed)


class TestFurtherFeeds:
    """What was fitted to counts beside what is judged on, where that says anything."""

    def test_labels_are_of_one_head(self) -> None:
        data, more = feeds(12), feeds(20, seed=2)
        labels = np.concatenate([two_heads().run(feed)[0] for feed in data]).argmax(1)
        others = np.concatenate([two_heads().run(feed)[0] for feed in more]).argmax(1)
        assert others.max() > 2, "else they would fit the other head as well"
        judge = Judge(two_heads(), data, labels)
        judge.learn(more, others)
        assert judge(two_heads()).drop == pytest.approx(0)

    def test_nothing_is_run_on_them_for_nothing(self) -> None:
        for original, data, more, runs in (
            (scores(), feeds(12), feeds(20, seed=2), 32),
            (image(), pictures(5), pictures(7), 5),
        ):
            judge = Judge(original, data)
            judge.learn(more, None)
            candidate = Counted(original)
            judge(candidate)
            assert candidate.runs == runs
            judge.learn(more, None, changes=False)
            candidate = Counted(original)
            judge(candidate)
            assert candidate.runs == len(data)


class TestJudge:
    def test_by_the_probabilities_of_the_original(self) -> None:
        """Labels do not matter to it; what it counts is how likely the original holds what is answered."""
        data = feeds(200)
        judge = Judge(scores(), data, right(data), estimate=True)
        quality = judge(scores(0.4))
        before, after = (np.concatenate([s.run(f)[0] for f in data]) for s in (scores(), scores(0.4)))
        likely = np.exp(before) / np.exp(before).sum(axis=1, keepdims=True)
        assert quality.kind == judge.kind == "estimate"
        assert quality.original == pytest.approx(float(likely.max(axis=1).mean()), rel=1e-4)
        answered = np.take_along_axis(likely, after.argmax(axis=1)[:, None], axis=1)
        assert quality.result == pytest.approx(float(answered.mean()), rel=1e-4)
        assert 0 < quality.drop < 1 - Judge(scores(), data)(scores(0.4)).expected
        assert quality.drop == pytest.approx(quality.original - quality.result, rel=0.4)
        judge.learn(feeds(60, seed=7), None)
        assert judge(scores(0.4)).drop == pytest.approx(quality.drop, rel=0.3)

    def test_the_same_network_loses_nothing(self) -> None:
        for judge, one in ((Judge(scores(), feeds(12)), scores()), (Judge(image(), pictures(3)), image())):
            quality = judge(one)
            assert quality.divergence == pytest.approx(0, abs=1e-12)
            assert not quality.drop > 1e-9

    @pytest.mark.parametrize("labelled", [True, False])
    def test_more_noise_loses_more(self, labelled: bool) -> None:
        data = feeds(60)
        judge = Judge(scores(), data, right(data) if labelled else None)
        found = [judge(scores(noise)) for noise in (0.1, 0.5, 2.0)]
        assert found[0].kind == ("top-1" if labelled else "agreement")
        assert found[0].original == (0.75 if labelled else 1.0)
        assert found[0].divergence < found[1].divergence < found[2].divergence
        assert found[0].drop < found[1].drop < found[2].drop

    def test_unknown_labels_are_no_labels(self) -> None:
        assert Judge(scores(), feeds(4), np.full(4, -1)).kind == "agreement"

    @pytest.mark.parametrize("labels", [[0, 1, 2], [9, 0, 0, 0], [-2, 0, 0, 0]])
    def test_labels_that_do_not_fit(self, labels: list[int]) -> None:
        with pytest.raises(DataError, match="label"):
            Judge(scores(), feeds(4), np.array(labels))

    def test_labels_without_classes(self) -> None:
        with pytest.raises(DataError, match="class scores"):
            Judge(image(), pictures(2), np.zeros(2, int))

    def test_noise_in_decibel(self) -> None:
        quality = Judge(image(), pictures(3))(image(0.1))
        assert quality.kind == "snr"
        assert quality.result == pytest.approx(20.0, abs=1e-3)
        assert quality.divergence == pytest.approx(0.01, rel=1e-3)
        assert Judge(scores(), feeds(3), dense="snr")(scores(0.1)).kind == "snr"
        assert Judge(image(), pictures(3), dense="psnr")(image(0.1)).result > quality.result

    def test_a_metric_of_ones_own(self) -> None:
        def score(outputs: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]) -> float:
            return -float(np.abs(outputs["y"] - inputs["x"]).max())

        judge = Judge(image(), pictures(3), metric=score)
        quality = judge(image(0.5))
        assert quality.kind == "metric"
        assert quality.original == judge.original_score == 0.0
        assert quality.drop == pytest.approx(-quality.result)
        assert quality.drop > 0

    def test_further_images_only_sharpen_the_estimate(self) -> None:
        data = feeds(40)
        judge = Judge(scores(), data[:10])
        alone = judge(scores(0.3))
        judge.learn(data[10:], None)
        together = judge(scores(0.3))
        assert (together.result, together.samples) == (alone.result, alone.samples)
        assert together.expected != alone.expected

    def test_an_output_is_missing(self) -> None:
        other = opened(model("z = MatMul (x, w)", "float[N, 8] x", "float[N, 5] z", w=np.ones((8, 5), "f4")))
        with pytest.raises(ModelError, match="'y'"):
            Judge(scores(), feeds(2))(other)

    def test_nothing_to_judge_on(self) -> None:
        with pytest.raises(DataError, match="no data"):
            Judge(scores(), [])


@pytest.mark.parametrize(("count", "is_said"), [(8, True), (12, False)])
def test_what_so_few_say_nothing_of_is_named(count: int, is_said: bool) -> None:
    rng = np.random.default_rng(6)
    data = [{"x": rng.standard_normal((1, 64)).astype(np.float32)} for _ in range(count)]
    same = opened(model("y = Identity (x)", "float[N, 64] x", "float[N, 64] y"))
    judge = Judge(same, data, task="embedding")
    said = judge.left_out(judge(same))
    assert [f"{count} samples" in one and "nearest" in one for one in said] == [True] * is_said
    pictured = Judge(image(), pictures(count))
    assert pictured.left_out(pictured(image(0.1))) == ()
