"""Weights in eight bits answer what the layer answers, as nearly as their codes allow."""

from __future__ import annotations

import numpy as np
import pytest

from sepfactor.factor import rounding
from sepfactor.factor.rounding import STEPS, Rounded, rounded, rounded_to_data


def layer(group: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A weight, and what it reads: neighbours alike, as pixels are, and with a mean."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((16, 16 // group, 3, 3)) * rng.uniform(0.1, 3.0, (16, 1, 1, 1))
    common = rng.standard_normal((1200, 16, 1, 1))
    return weight, 2.0 + common + 0.1 * rng.standard_normal((1200, 16, 3, 3))


def answers(weight: np.ndarray, patches: np.ndarray, group: int) -> np.ndarray:
    out = len(weight)
    rows = weight.reshape(group, out // group, -1)
    read = patches.reshape(len(patches), group, -1)
    return np.einsum("gow,ngw->ngo", rows, read).reshape(len(patches), out)


def as_floats(found: Rounded) -> np.ndarray:
    return found.codes * found.scales.astype(np.float64).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("group", [1, 2, 16])
@pytest.mark.parametrize("seed", range(3))
def test_data_say_how_to_round(group: int, seed: int) -> None:
    weight, patches = layer(group, seed)
    wanted, errors = answers(weight, patches, group), []
    for found in (rounded(weight), rounded_to_data(weight, patches[:900], group)):
        assert found.codes.dtype == np.int8
        assert np.abs(found.codes.astype(int)).max() <= STEPS
        answered = answers(as_floats(found), patches, group) + found.shift
        errors.append(np.sum((wanted - answered)[900:] ** 2))
    assert errors[1] < 0.3 * errors[0]


def test_the_nearest_codes() -> None:
    weight, _ = layer(1)
    found = rounded(weight)
    half = 0.5 * found.scales.astype(np.float64).reshape(-1, 1, 1, 1)
    assert (np.abs(weight - as_floats(found)) <= half * (1 + 1e-6)).all()
    assert (np.abs(found.codes.reshape(16, -1)).max(axis=1) == STEPS).all()
    assert not found.shift.any()


def test_the_mean_is_kept() -> None:
    weight, patches = layer(1)
    found = rounded_to_data(weight, patches)
    off = answers(weight, patches, 1) - answers(as_floats(found), patches, 1) - found.shift
    assert np.abs(off.mean(axis=0)).max() < 1e-9


def test_what_is_on_the_grid_stays() -> None:
    codes = np.random.default_rng(0).integers(-STEPS, STEPS + 1, (6, 3, 3, 3))
    codes[:, 0, 0, 0] = STEPS
    scales = np.float64(np.float32([0.5, 0.25, 1.0, 2.0, 0.125, 4.0]))
    weight = codes * scales.reshape(-1, 1, 1, 1)
    patches = np.random.default_rng(1).standard_normal((200, 3, 3, 3))
    for found in (rounded(weight), rounded_to_data(weight, patches)):
        assert np.array_equal(found.codes, codes)
        assert np.allclose(found.shift, 0.0, atol=1e-9)


def test_a_weight_of_zeros_and_inputs_that_never_vary() -> None:
    zeros = rounded_to_data(np.zeros((4, 2, 3, 3)), np.zeros((50, 2, 3, 3)))
    assert not zeros.codes.any()
    assert np.isfinite(zeros.scales).all()
    weight, patches = layer(1)
    same = rounded_to_data(weight, np.broadcast_to(patches[:1], patches.shape))
    assert np.isfinite(same.shift).all()


def test_along_another_axis() -> None:
    weight = np.random.default_rng(0).standard_normal((5, 7))
    found = rounded(weight)
    assert np.array_equal(found.along(1).codes, found.codes.T)


def test_blocks_are_only_for_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, patches = layer(1)
    found = []
    for block in (1, 64, 1000):
        monkeypatch.setattr(rounding, "_BLOCK", block)
        found.append(rounded_to_data(weight, patches).codes)
    assert np.mean(found[0] != found[1]) < 0.01  # sums of other order may round otherwise
    assert np.mean(found[0] != found[2]) < 0.01
