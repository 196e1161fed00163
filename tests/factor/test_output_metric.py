"""Weighing errors by who reads them: it turns back, it is a change of coordinates, and it is worth it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.factor import SCHEMES, Factorization, Scheme, Stage, Statistics
from sepfactor.factor.output_metric import OutputMetric
from sepfactor.factor.refit import refit
from sepfactor.factor.stage import Array
from sepfactor.factor.statistics import ReplacementErrors, on_grid
from tests.factor.kinds import by_name, ranks, taken_by
from tests.factor.seen import Rows, correlated, rows_for
from tests.strategies import normal, seeds, stages, unpadded

RANKED = [scheme for scheme in SCHEMES if scheme.name != "trim"]


def metric_for(stage: Stage, seed: int, rank: int | None = None) -> OutputMetric:
    outs = stage.out_channels
    kernels = normal(seed, rank or outs, outs)
    return OutputMetric.of(kernels.T @ kernels, stage.group)


def blocks(matrices: Array) -> Array:
    """``(group, o, o)`` as one matrix."""
    group, size, _ = matrices.shape
    whole = np.zeros((group * size, group * size))
    for g, block in enumerate(matrices):
        whole[g * size : (g + 1) * size, g * size : (g + 1) * size] = block
    return whole


def felt(metric: OutputMetric, rows: Rows, found: Factorization) -> float:
    """Mean square of ``L (y − y')`` over the rows."""
    answers = rows.run(on_grid(rows.stage, found)) + found.bias
    return float(np.mean(np.sum(((rows.y - answers) @ blocks(metric.roots[0]).T) ** 2, axis=1)))


@pytest.mark.parametrize("scheme", RANKED, ids=lambda scheme: scheme.name)
@given(st.data())
def test_what_is_turned_turns_back(scheme: Scheme, data: st.DataObject) -> None:
    stage = data.draw(taken_by(scheme))
    decomposition = scheme.decompose(stage)
    bias = normal(data.draw(seeds), stage.out_channels)
    found = Factorization(decomposition.build(data.draw(ranks(decomposition.full_rank))), bias)
    metric = metric_for(stage, data.draw(seeds)).for_form(found)
    left = blocks(metric.roots[0])
    turned = metric.whiten(found)
    weight = on_grid(stage, found)
    np.testing.assert_allclose(
        on_grid(stage, turned), np.tensordot(left, weight, 1), atol=1e-9 * np.abs(left).sum()
    )
    np.testing.assert_allclose(turned.bias, left @ bias, atol=1e-9 * np.abs(left).sum())
    back = metric.unwhiten(turned)
    np.testing.assert_allclose(on_grid(stage, back), weight, atol=1e-9)
    np.testing.assert_allclose(back.bias, bias, atol=1e-9)


@given(stages(("dense", "grouped")).flatmap(correlated), seeds)
def test_turned_moments_are_those_of_turned_answers(rows: Rows, seed: int) -> None:
    metric = metric_for(rows.stage, seed)
    found = metric.whiten_moments(rows.moments(spread=True))
    wanted = replace(rows, y=rows.y @ blocks(metric.roots[0]).T).moments(spread=True)
    scale = wanted.power
    assert found.power == pytest.approx(wanted.power, rel=1e-4)
    np.testing.assert_allclose(found.spread, wanted.spread, atol=1e-4 * scale)
    np.testing.assert_allclose(found.cross, wanted.cross, rtol=1e-3, atol=1e-3 * np.abs(wanted.cross).max())
    np.testing.assert_allclose(found.y_mean, wanted.y_mean, rtol=1e-4, atol=1e-4 * np.sqrt(scale))


@given(seeds, st.integers(1, 3), st.sampled_from(["channel-out", "spatial-vertical"]))
def test_fitted_to_what_is_read_less_of_it_is_missed(seed: int, rank: int, name: str) -> None:
    """A reader that makes two of eight channels: fits in its metric miss less of it than plain ones do."""
    stage = unpadded(normal(seed, 8, 4, 3, 3))
    rows, scheme = rows_for(stage, seed), by_name(name)
    metric = metric_for(stage, seed, rank=2)
    moments = rows.moments(spread=True)

    def best(dense: Stage, aims: object) -> Factorization:
        start = Factorization(scheme.decompose(dense, aims).build((rank,)))
        return refit(dense, start, aims, sweeps=3)

    plain = best(stage, moments)
    weighed = metric.unwhiten(best(metric.whiten_stage(stage), metric.whiten_moments(moments)))
    slack = 1e-6 if name == "channel-out" else 0.2  # alternation may end in another valley
    assert felt(metric, rows, weighed) <= felt(metric, rows, plain) * (1 + slack)


def test_a_reader_of_some_channels_gets_those_right() -> None:
    stage = unpadded(normal(3, 8, 4, 1, 1))
    rows = rows_for(stage, 3)
    read = OutputMetric.of(np.diag([1.0, 1, 0, 0, 0, 0, 0, 0]), 1)
    scheme, moments = by_name("channel-out"), rows.moments(spread=True)
    errors = []
    for metric in (OutputMetric.of(np.eye(8), 1), read):
        dense, aims = metric.whiten_stage(stage), metric.whiten_moments(moments)
        found = metric.unwhiten(Factorization(scheme.decompose(dense, aims).build((2,))))
        wrong = rows.run(stage.weight - on_grid(stage, found))[:, :2]
        errors.append(float(np.square(wrong - wrong.mean(axis=0)).sum()))
    assert errors[1] < 0.5 * errors[0]


def test_a_form_that_does_not_mix_channels_last_is_weighed_by_the_diagonal() -> None:
    stage = unpadded(normal(0, 6, 4, 3, 3))
    metric = metric_for(stage, 0)
    last_depthwise = Factorization(by_name("pointwise-depthwise").decompose(stage).build((1,)))
    found = metric.for_form(last_depthwise).gram
    np.testing.assert_array_equal(found, metric.gram * np.eye(6))
    mixing = Factorization(by_name("spatial-vertical").decompose(stage).build((1,)))
    assert metric.for_form(mixing) is metric


def test_behind_a_relu_only_what_is_positive_together_counts() -> None:
    metric = OutputMetric(np.ones((1, 2, 2)))
    both = np.array([[[0.5, 0.0], [0.0, 0.2]]])
    np.testing.assert_array_equal(metric.behind(both).gram, both)


def test_an_answer_nobody_reads_counts_evenly() -> None:
    left, back = OutputMetric(np.zeros((1, 3, 3))).roots
    np.testing.assert_allclose(left, np.eye(3)[None])
    np.testing.assert_allclose(back, np.eye(3)[None])


@given(stages(("dense", "grouped")), seeds, st.booleans(), st.booleans())
def test_the_weighted_error_is_that_of_answers_computed_one_by_one(
    stage: Stage, seed: int, rectified: bool, weighed: bool
) -> None:
    patches = normal(seed, 40, stage.in_channels, *stage.kernel_shape).astype(np.float32)
    bias = normal(seed, stage.out_channels)
    other = replace(stage, weight=stage.weight + 0.1 * normal(seed + 1, *stage.weight.shape))
    found = Factorization((by_name("channel-out").decompose(other).build((1,)))[:1], 0.9 * bias)
    left = blocks(metric_for(stage, seed).roots[0]) if weighed else np.eye(stage.out_channels)
    rows = Rows(stage, patches.astype(np.float64), np.zeros((40, stage.out_channels)))
    answers = [rows.run(stage.weight) + bias, rows.run(on_grid(stage, found)) + 0.9 * bias]
    if rectified:
        answers = [np.maximum(a, 0) for a in answers]
    right, wrong = (a @ left.T for a in answers)
    wanted = np.linalg.norm(wrong - right) / np.linalg.norm(right - right.mean(axis=0))
    metric = metric_for(stage, seed) if weighed else None
    errors = ReplacementErrors(Statistics(patches), stage, bias, None, metric, rectified=rectified)
    assert errors(found).weighted == pytest.approx(float(wanted), rel=1e-3)
    offset = normal(seed + 2, stage.out_channels)
    shifted = ReplacementErrors(
        Statistics(patches), stage, bias - offset, offset, metric, rectified=rectified
    )
    found = replace(found, bias=0.9 * bias - offset)
    assert shifted(found).weighted == pytest.approx(float(wanted), rel=1e-3)
