"""The rules of others, each against the definition it goes by."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from baselines import (
    BASELINES,
    Rule,
    _lagrangian,
    balf,
    network_decoupling,
    pca_energy,
    pca_energy_asymmetric,
    plain_svd,
)
from onnx import helper
from subject import Layer, Subject

from sepfactor.factor import Factorization
from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.graph.survey import survey
from sepfactor.measure import OnnxRuntime
from tests.networks import conv, kernel, network

RULES = [baseline for baseline in BASELINES.values() if isinstance(baseline, Rule)]
SHARES = (0.8, 0.5, 0.3)


def smooth(count: int = 12) -> list[dict[str, np.ndarray]]:
    """Images whose neighbouring pixels agree, and whose channels have unlike means."""
    rng = np.random.default_rng(0)
    noise = np.cumsum(np.cumsum(rng.standard_normal((count, 3, 14, 14)), axis=2), axis=3)
    return [{"image": x[None]} for x in (noise / 20 + [[[0.5]], [[1]], [[2]]]).astype(np.float32)]


def three(second: np.ndarray) -> onnx.ModelProto:
    """3 → 20 → 24 → 8 channels; ``second`` is the kernel in the middle."""
    nodes = [
        conv("image", "w1", "a", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2", "bias"], ["c"], name="conv_c", pads=[1] * 4, strides=[2, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        conv("d", "w3", "map", pads=[1] * 4),
    ]
    bias = np.linspace(-1, 1, 24).astype(np.float32)
    constants = {"w1": kernel(20, 3), "w2": second, "bias": bias, "w3": kernel(8, 24, seed=2)}
    return network(nodes, constants, {"image": ("batch", 3, 14, 14)}, {"map": ("batch", 8, 7, 14)})


def subject_of(model: onnx.ModelProto, folder: Path, *, blocks: bool = False) -> Subject:
    file = folder / "model.onnx"
    onnx.save(model, file)
    prepared = prepare(load(file).model)
    return Subject(file, prepared, survey(prepared), smooth(), OnnxRuntime(), blocks)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject_of(three(kernel(24, 20, seed=1)), tmp_path_factory.mktemp("subject"))


def outputs(subject: Subject, found: list[Replacement]) -> np.ndarray:
    session = OnnxRuntime().open(rebuilt(subject, found))
    return np.concatenate([session.run(feed)[0] for feed in subject.feeds])


def rebuilt(subject: Subject, found: list[Replacement]) -> bytes:
    return ir.to_proto(rebuild(subject.prepared, found).model).SerializeToString()


def macs(subject: Subject, found: list[Replacement]) -> int:
    new = {r.site.output: r.factorization for r in found}
    return sum(new.get(layer.site.output, layer.stage).macs(layer.size) for layer in subject.layers)


def middle(subject: Subject, found: list[Replacement]) -> tuple[Layer, Factorization]:
    (factors,) = (r.factorization for r in found if r.site.output == "c")
    return subject.layers[1], factors


def test_moments_are_of_what_the_layers_answer(subject: Subject) -> None:
    for layer in subject.layers:
        assert layer.moments.error(layer.stage.weight, layer.site.bias) < 1e-5
    assert [layer.size for layer in subject.layers] == [(14, 14), (14, 14), (7, 14)]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("rule", [pca_energy, pca_energy_asymmetric, balf])
def test_budgets_of_the_whole_network_are_kept_and_used(subject: Subject, rule, share: float) -> None:
    spent = macs(subject, rule(subject, share))
    assert spent <= share * subject.macs
    assert spent > (share - 0.25) * subject.macs


@pytest.mark.parametrize("share", SHARES)
def test_plain_svd_takes_the_largest_rank_within_the_ratio(subject: Subject, share: float) -> None:
    for replacement in plain_svd(subject, share):
        (layer,) = (one for one in subject.layers if one.site is replacement.site)
        rank = replacement.factorization.stages[0].out_channels
        cost = replacement.factorization.macs(layer.size)
        assert cost <= share * layer.macs
        assert cost * (rank + 1) / rank > share * layer.macs


def test_blocks_make_every_middle_width_a_multiple_of_16(tmp_path: Path) -> None:
    subject = subject_of(three(kernel(24, 20, seed=1)), tmp_path, blocks=True)
    for rule in (plain_svd, pca_energy, balf):
        found = [r for r in rule(subject, 0.5) if r.site.output == "c"]
        assert found
        assert all(r.factorization.stages[0].out_channels % 16 == 0 for r in found)


@pytest.mark.parametrize("energy", [0.4, 0.6, 0.75])
def test_decoupling_takes_the_fewest_pairs_that_keep_the_energy(subject: Subject, energy: float) -> None:
    layer, factors = middle(subject, network_decoupling(subject, energy))
    weight = layer.stage.weight.reshape(24, 20, 9)

    def kept(pairs: int) -> float:
        shares = []
        for channel in range(20):
            values = np.linalg.svd(weight[:, channel], compute_uv=False) ** 2
            shares.append(values[:pairs].sum() / values.sum())
        return float(np.mean(shares))

    pairs = len(factors.chains)
    assert kept(pairs) >= energy > kept(pairs - 1)


def test_decoupling_finds_a_planted_pair(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    planted = np.einsum("oi,ik->oik", rng.standard_normal((24, 20)), rng.standard_normal((20, 9)))
    subject = subject_of(three(planted.reshape(24, 20, 3, 3).astype(np.float32) / 10), tmp_path)
    found = [r for r in network_decoupling(subject, 0.999999) if r.site.output == "c"]
    assert len(found[0].factorization.chains) == 1
    np.testing.assert_allclose(outputs(subject, found), outputs(subject, []), rtol=1e-3, atol=1e-4)


def test_layers_that_would_cost_no_less_are_kept(subject: Subject) -> None:
    assert network_decoupling(subject, 1.0) == []
    for rule in (plain_svd, pca_energy, balf):
        for replacement in rule(subject, 0.99):
            (layer,) = (one for one in subject.layers if one.site is replacement.site)
            assert replacement.factorization.macs(layer.size) < layer.macs


def test_pca_energy_projects_the_responses_on_their_leading_directions(subject: Subject) -> None:
    layer, factors = middle(subject, pca_energy(subject, 0.4))
    rank = factors.stages[0].out_channels
    assert factors.bias is not None and layer.site.bias is not None
    weight = layer.stage.weight.reshape(24, -1)
    leading = np.linalg.eigh(weight @ layer.moments.covariance[0] @ weight.T)[1][:, -rank:]
    wanted = leading @ leading.T @ weight
    np.testing.assert_allclose(factors.dense().weight.reshape(24, -1), wanted, atol=1e-6)
    mean = layer.moments.y_mean
    answered = wanted @ layer.moments.x_mean[0] + factors.bias
    np.testing.assert_allclose(answered, mean, atol=1e-5)


def test_asymmetric_is_the_same_where_nothing_before_was_replaced(subject: Subject) -> None:
    alone, aware = pca_energy(subject, 0.4)[0], pca_energy_asymmetric(subject, 0.4)[0]
    assert alone.site is aware.site
    kernels = [r.factorization.dense().weight for r in (alone, aware)]
    np.testing.assert_allclose(kernels[0], kernels[1], atol=1e-4)


@pytest.mark.parametrize("share", [0.5, 0.3])
def test_asymmetric_makes_up_for_errors_made_before(subject: Subject, share: float) -> None:
    original = outputs(subject, [])
    alone, aware = (
        float(np.linalg.norm(outputs(subject, rule(subject, share)) - original))
        for rule in (pca_energy, pca_energy_asymmetric)
    )
    assert len(pca_energy(subject, share)) > 1
    assert aware < alone


def test_pca_energy_first_drops_what_carries_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    planted = rng.standard_normal((24, 6)) @ rng.standard_normal((6, 180)) / 30
    subject = subject_of(three(planted.reshape(24, 20, 3, 3).astype(np.float32)), tmp_path)
    second = subject.layers[1]
    share = 1 - 0.6 * second.macs / subject.macs
    found = pca_energy(subject, share)
    assert [r.site.output for r in found] == ["c"]
    np.testing.assert_allclose(outputs(subject, found), outputs(subject, []), rtol=1e-3, atol=1e-3)


def test_balf_truncates_the_weights_whitened_by_what_they_read(subject: Subject) -> None:
    layer, factors = middle(subject, balf(subject, 0.4))
    mean = layer.moments.x_mean[0]
    values, vectors = np.linalg.eigh(layer.moments.covariance[0] + np.outer(mean, mean))
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    u, s, v = np.linalg.svd(layer.stage.weight.reshape(24, -1) @ root, full_matrices=False)
    rank = factors.stages[0].out_channels
    truncated = (u[:, :rank] * s[:rank]) @ v[:rank]
    np.testing.assert_allclose(factors.dense().weight.reshape(24, -1) @ root, truncated, atol=1e-5)
    assert factors.bias is layer.site.bias


@pytest.mark.parametrize("seed", range(20))
def test_no_choice_of_the_same_cost_keeps_more_than_the_lagrangian_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    energies = [np.sort(rng.random(5)) for _ in range(4)]
    costs = [np.sort(rng.integers(1, 1000, 5)).astype(float) for _ in range(4)]
    budget = float(rng.uniform(sum(c[0] for c in costs), sum(c[-1] for c in costs)))
    chosen = _lagrangian(energies, costs, budget)
    spent = sum(c[i] for c, i in zip(costs, chosen, strict=True))
    kept = sum(e[i] for e, i in zip(energies, chosen, strict=True))
    assert spent <= budget
    for other in itertools.product(range(5), repeat=4):
        if sum(c[i] for c, i in zip(costs, other, strict=True)) <= spent:
            assert sum(e[i] for e, i in zip(energies, other, strict=True)) <= kept + 1e-9

    for multiplier in np.geomspace(1e-5, 1, 2000):
        other = [int(np.argmax(e - multiplier * c)) for e, c in zip(energies, costs, strict=True)]
        if sum(c[i] for c, i in zip(costs, other, strict=True)) <= budget:
            assert sum(e[i] for e, i in zip(energies, other, strict=True)) <= kept + 1e-9


def test_a_budget_nothing_meets_gets_the_cheapest_choice() -> None:
    assert _lagrangian([np.array([0.1, 1.0])], [np.array([500.0, 900.0])], 10.0) == [0]


def test_seen_from_its_inputs_balf_beats_plain_svd_at_the_same_cost(subject: Subject) -> None:
    layer, aware = middle(subject, balf(subject, 0.4))
    rank = aware.stages[0].out_channels
    weight = layer.stage.weight.reshape(24, -1)
    u, s, v = np.linalg.svd(weight, full_matrices=False)
    plain = ((u[:, :rank] * s[:rank]) @ v[:rank]).reshape(layer.stage.weight.shape)
    bias = layer.site.bias
    assert layer.moments.error(aware.dense().weight, bias) < layer.moments.error(plain, bias)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_points_run_shrink_and_differ(subject: Subject, rule: Rule) -> None:
    labels, sizes = [], []
    for label, model in rule.points(subject):
        proto = ir.to_proto(model)
        session = OnnxRuntime().open(proto.SerializeToString())
        (map_,) = session.run(subject.feeds[0])
        assert map_.shape == (1, 8, 7, 14) and np.isfinite(map_).all()
        labels.append(label)
        sizes.append(sum(np.prod(tensor.dims) for tensor in proto.graph.initializer))
    assert len(labels) == len(set(labels)) >= 2  # random kernels: few thresholds leave room for pairs
    assert sizes == sorted(sizes, reverse=True)
