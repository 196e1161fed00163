"""Trim: exact wherever it does not refuse, and it refuses wherever it would crop the input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.factor import Factorization, Stage, weight_error
from sepfactor.factor.statistics import kernel_difference
from sepfactor.factor.trim import TRIM
from tests.factor import naive
from tests.strategies import inputs, normal, stages, unpadded


def _padded(weight: np.ndarray, *pads: tuple[int, int], **geometry: tuple[int, ...]) -> Stage:
    return replace(unpadded(weight), pads=pads, **geometry)


def _trimmed(stage: Stage) -> Stage:
    (chain,) = TRIM.decompose(stage).build(())
    (trimmed,) = chain.stages
    return trimmed


@st.composite
def _bordered(draw: st.DrawFn) -> tuple[Stage, list[tuple[int, int]]]:
    """A stage inside zeros, and per axis how many of them there are at either end."""
    core = draw(stages(kernel=(1, 3)))
    margins = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(2)]
    weight = np.pad(normal(draw(st.integers(0, 99)), *core.weight.shape), [(0, 0), (0, 0), *margins])
    return replace(core, weight=weight), margins


@given(st.data())
def test_trimming_changes_nothing_but_the_kernel(data: st.DataObject) -> None:
    stage, margins = data.draw(_bordered())
    # As many taps as are zero, and no more than there is padding for.
    cut = [
        (min(begin, before // d), min(end, after // d))
        for (begin, end), (before, after), d in zip(margins, stage.pads, stage.dilations, strict=True)
    ]
    if not any(begin or end for begin, end in cut):
        reason = TRIM.refuses(stage)
        assert reason is not None
        assert reason.code == "no-zeros"
        return
    assert TRIM.refuses(stage) is None
    trimmed = _trimmed(stage)
    assert trimmed.kernel_shape == tuple(
        k - begin - end for k, (begin, end) in zip(stage.kernel_shape, cut, strict=True)
    )
    assert (trimmed.strides, trimmed.dilations, trimmed.group) == (
        stage.strides,
        stage.dilations,
        stage.group,
    )
    assert TRIM.refuses(trimmed) is not None  # once is enough
    x = data.draw(inputs(stage))
    np.testing.assert_allclose(
        naive.convolve(trimmed, x), naive.convolve(stage, x), atol=1e-12 * np.abs(x).sum()
    )
    replacement = Factorization(TRIM.decompose(stage).build(()))
    assert weight_error(stage, replacement) == 0
    difference = kernel_difference(stage, replacement)
    assert difference.kernel_shape == stage.kernel_shape
    assert not difference.weight.any()
    assert replacement.macs(x.shape[1:]) < stage.macs(x.shape[1:])


def test_a_centre_tap_is_a_pointwise_convolution() -> None:
    weight = np.zeros((4, 3, 3, 3))
    weight[:, :, 1, 1] = normal(0, 4, 3)
    trimmed = _trimmed(_padded(weight, (1, 1), (1, 1)))
    assert trimmed.is_pointwise
    assert trimmed.pads == ((0, 0), (0, 0))
    np.testing.assert_array_equal(trimmed.weight, weight[:, :, 1:2, 1:2])


def test_stride_two_keeps_its_pixels() -> None:
    weight = np.pad(normal(0, 2, 2, 2, 2), [(0, 0), (0, 0), (1, 0), (0, 1)])
    stage = _padded(weight, (1, 1), (1, 1), strides=(2, 2))
    trimmed = _trimmed(stage)
    assert trimmed.kernel_shape == (2, 2)
    assert trimmed.pads == ((0, 1), (1, 0))
    for size in [(6, 6), (7, 7), (6, 7)]:
        x = normal(1, 2, *size)
        np.testing.assert_allclose(naive.convolve(trimmed, x), naive.convolve(stage, x), atol=1e-12)


def test_without_padding_the_input_would_be_cropped() -> None:
    weight = np.pad(normal(0, 2, 2, 1, 1), [(0, 0), (0, 0), (1, 1), (1, 1)])
    assert TRIM.refuses(unpadded(weight)) is not None
    assert TRIM.refuses(_padded(weight, (1, 1), (1, 1), dilations=(2, 2))) is not None
    one_side = _padded(weight, (1, 0), (0, 0))
    assert TRIM.refuses(one_side) is None
    assert _trimmed(one_side).kernel_shape == (2, 3)


def test_a_full_kernel_is_refused() -> None:
    assert TRIM.refuses(_padded(normal(0, 2, 2, 3, 3), (1, 1), (1, 1))) is not None


def test_an_all_zero_kernel_keeps_a_tap() -> None:
    stage = _padded(np.zeros((2, 2, 3, 3)), (2, 2), (2, 2))
    trimmed = _trimmed(stage)
    assert trimmed.is_pointwise
    assert trimmed.output_size((5, 6)) == stage.output_size((5, 6))
    assert TRIM.decompose(stage).error(()) == 0
    assert weight_error(stage, Factorization(TRIM.decompose(stage).build(()))) == 0


@pytest.mark.parametrize(("size", "cut"), [(1e-9, True), (1e-4, False)])
def test_rounding_counts_as_zero_and_small_weights_do_not(size: float, cut: bool) -> None:
    weight = normal(0, 3, 3, 3, 3)
    weight[:, :, 0] *= size
    stage = _padded(weight, (1, 1), (1, 1))
    assert (TRIM.refuses(stage) is None) == cut
    if cut:
        replacement = Factorization(TRIM.decompose(stage).build(()))
        assert 0 < weight_error(stage, replacement) < 1e-7
