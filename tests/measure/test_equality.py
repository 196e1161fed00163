"""How far two outputs are from equal."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sepfactor.measure.engines import open_engine
from sepfactor.measure.equality import Distance, distance, is_rounding, noise, nudged, worst
from sepfactor.measure.reference import Reference
from tests.graph.build import model, normal


def test_the_noise_that_was_added_is_found() -> None:
    rng = np.random.default_rng(0)
    wanted = rng.standard_normal(10_000)
    found = distance(wanted + 1e-3 * rng.standard_normal(10_000), wanted)
    assert found.snr_db == pytest.approx(60, abs=0.5)


def test_one_rounding() -> None:
    wanted = np.ones(4, np.float32)
    off = wanted.copy()
    off[1] = np.nextafter(np.float32(1), np.float32(2))
    assert distance(off, wanted).max_ulps == pytest.approx(1)


@pytest.mark.parametrize("array", [np.zeros(3), np.array([np.nan, np.inf, 1.0]), np.arange(3), np.zeros(0)])
def test_equal(array: np.ndarray) -> None:
    assert distance(array.copy(), array) == Distance(math.inf, 0.0, 0.0)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (np.zeros(3), np.zeros(4)),
        (np.zeros(3, np.float32), np.zeros(3)),
        (np.array([1, 2]), np.array([1, 3])),
        (np.array([1.0, np.nan]), np.array([1.0, 2.0])),
        (np.array([1.0, 2.0]), np.array([1.0, np.nan])),
        (np.array([np.inf]), np.array([-np.inf])),
        (np.array([1e-30]), np.array([0.0])),
    ],
)
def test_infinitely_far(found: np.ndarray, wanted: np.ndarray) -> None:
    assert distance(found, wanted).snr_db == -math.inf


def test_the_worst_in_each_respect() -> None:
    assert worst([Distance(90, 1.0, 3.0), Distance(120, 2.0, 1.0)]) == Distance(90, 2.0, 3.0)


@pytest.mark.parametrize(
    ("snr", "own", "is_exact"), [(101, math.inf, True), (99, 140, False), (45, 50, True), (37, 50, False)]
)
def test_what_rounding_alone_does_is_allowed(snr: float, own: float, is_exact: bool) -> None:
    assert is_rounding(Distance(snr, 0, 0), Distance(own, 0, 0)) is is_exact


def test_numbers_are_nudged_by_one_place() -> None:
    feed = {"x": np.float32([[1, -2, 0]]), "h": np.float16([3, 4]), "n": np.arange(3)}
    off = nudged(feed)
    for name in ("x", "h"):
        assert off[name].dtype == feed[name].dtype
        near = np.spacing(np.maximum(np.abs(feed[name]), np.abs(off[name])))
        assert (off[name] != feed[name]).all()
        assert (np.abs(off[name] - feed[name]) <= near).all()
    np.testing.assert_array_equal(off["n"], feed["n"])


def test_noise_has_the_shapes_of_the_feed_and_leaves_whole_numbers() -> None:
    feed = {"x": np.zeros((2, 3), np.float16), "ids": np.arange(4)}
    made = noise(feed, seed=1)
    assert made["x"].shape == (2, 3)
    assert made["x"].dtype == np.float16
    assert np.ptp(made["x"]) > 0
    np.testing.assert_array_equal(made["ids"], feed["ids"])


class TestReference:
    SAME = "y = Mul (x, x)  z = Neg (x)"
    OTHER = "y = Mul (x, x)  z = Neg (y)"

    @staticmethod
    def network(text: str) -> bytes:
        return model(text, "float[N, 4] x", "float[N, 4] y, float[N, 4] z").SerializeToString()

    def test_every_output_is_compared(self) -> None:
        engine, same, other = open_engine(), self.network(self.SAME), self.network(self.OTHER)
        reference = Reference.of(engine, same, [{"x": normal(2, 4)}])
        assert reference.is_equal(engine.open(same))
        assert not reference.is_equal(engine.open(other))
        y, z = reference.compare(engine.open(other))
        assert (y.name, z.name) == ("y", "z")
        assert y.snr_db == np.inf
        assert z.snr_db < 20

    def test_outputs_of_one_number_are_named(self) -> None:
        same = self.network(self.SAME)
        reference = Reference.of(open_engine(), same, [{"x": np.ones((2, 4), np.float32)}])
        assert reference.constant == ("y", "z")
        assert not Reference.of(open_engine(), same, [{"x": normal(2, 4)}]).constant
