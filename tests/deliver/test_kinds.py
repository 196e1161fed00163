"""Every kind of site goes the whole way that a 2-D Conv goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from click.testing import CliRunner

import sepfactor
from sepfactor.cli import main
from sepfactor.factor import Factorization
from sepfactor.fit.layer_fit import Fit
from sepfactor.graph.kind import CONV_2D
from sepfactor.graph.survey import Site, survey
from sepfactor.measure.timing_cache import MemoryCache
from sepfactor.search.layer_timing import LayerTimer, Place
from tests.fit.small import ENGINE, Feed, built, fitted, off_by, opened, outputs, smooth, weights
from tests.graph.build import check, model, normal
from tests.timing import decide_times

Plan = dict[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Case:
    """A network of one kind.

    Attributes:
        proto: reads ``x``, writes ``y``. data: one sample for each seed.
        plan: schemes and ranks of some of its sites, by output.
        options: that are needed to have it looked at. samples: enough to fit it to.
        least: SNR in dB to ask for: answers that vary little beside their biases are harder to keep.
    """

    proto: onnx.ModelProto
    data: Callable[[int], np.ndarray]
    plan: Plan
    options: dict[str, Any] = field(default_factory=dict)
    samples: int = 24
    least: float = 15.0

    def feeds(self, count: int, seed: int = 0) -> list[Feed]:
        return [{"x": self.data(seed + i)} for i in range(count)]

    @property
    def flags(self) -> list[str]:
        return [f"--{name.replace('_', '-')}" for name in self.options]

    def sites(self) -> list[Site]:
        return survey(opened(self.proto), **self.options)


def volume(seed: int) -> np.ndarray:
    """``(1, 3, 6, 6, 6)``, smooth along all three axes."""
    slices = smooth(10, size=6, seed=seed)
    deep = np.stack([slices[d : d + 5].mean(axis=0) for d in range(6)], axis=1)
    return np.asarray(deep[None] / deep.std())


def nearly_separable(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Kernels of three axes, most of them a plane and then the first axis; as random ones, few plans gain."""
    found = weights(**shapes)
    for name, (outs, ins, depth, *plane) in shapes.items():
        parts = normal(outs, 3, depth), normal(3, ins, *plane)
        exact = np.einsum("ord,rihw->oidhw", *parts)
        found[name] = 0.2 * found[name] + exact * (found[name].std() / exact.std())
    return {name: array.astype(np.float32) for name, array in found.items()}


CASES = {
    "conv-1d": Case(
        model(
            """
            a = Conv <pads = [2, 2]> (x, w1, b1)
            r = Relu (a)
            b = Conv <pads = [2, 2]> (r, w2, b2)
            d = Add (b, r)
            s = Relu (d)
            y = Conv <pads = [1, 2], strides = [2]> (s, w3, b3)
            """,
            "float[N, 3, L] x",
            "float[N, 6, M] y",
            **weights(w1=(16, 3, 5), w2=(16, 16, 5), w3=(6, 16, 4)),
        ),
        lambda seed: smooth(1, size=40, seed=seed)[:, :, 0],
        {"a": ("channel-out", (4,)), "b": ("depthwise-pointwise", (2,)), "y": ("channel-in", (4,))},
    ),
    "conv-3d": Case(
        model(
            """
            a = Conv <pads = [1, 1, 1, 1, 1, 1]> (x, w1, b1)
            r = Relu (a)
            b = Conv <pads = [1, 1, 1, 1, 1, 1]> (r, w2, b2)
            d = Add (b, r)
            s = Relu (d)
            y = Conv <pads = [0, 1, 1, 1, 1, 1], strides = [2, 1, 1]> (s, w3, b3)
            """,
            "float[N, 3, D, H, W] x",
            "float[N, 6, P, H, W] y",
            **nearly_separable(w1=(16, 3, 3, 3, 3), w2=(16, 16, 3, 3, 3), w3=(6, 16, 2, 3, 3)),
        ),
        lambda seed: volume(seed),
        {"a": ("spatial-vertical", (6,)), "b": ("spatial-depth-last", (12,)), "y": ("hybrid", (1, 4))},
    ),
    "transposed": Case(
        model(
            """
            a = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w1, b1)
            r = Relu (a)
            b = ConvTranspose <pads = [1, 1, 1, 1], strides = [2, 2]> (r, w2, b2)
            s = Relu (b)
            y = ConvTranspose <pads = [1, 1, 1, 1], output_padding = [1, 1], strides = [2, 2]> (s, w3)
            """,
            "float[N, 3, H, W] x",
            "float[N, 3, P, Q] y",
            **weights(w1=(24, 3, 3, 3), w2=(24, 20, 4, 4), w3=(20, 3, 3, 3))
            | {"b2": normal(20) / np.float32(9)},
        ),
        lambda seed: smooth(1, seed=seed),
        {"b": ("spatial-vertical", (8,)), "y": ("channel-in", (8,))},
    ),
    "gemm": Case(
        model(
            """
            a = Gemm <transB = 1> (x, w1, b1)
            r = Relu (a)
            b = Gemm <alpha = 0.5> (r, w2)
            s = Relu (b)
            y = Gemm <transB = 1, beta = 2.0> (s, w3, b3)
            """,
            "float[N, 80] x",
            "float[N, 40] y",
            **weights(w1=(64, 80), w2=(64, 64), w3=(40, 64)),
        ),
        lambda seed: smooth(1, channels=1, size=80, seed=seed)[:, 0, 0],
        {"a": ("channel-out", (16,)), "b": ("channel-out", (16,)), "y": ("channel-out", (12,))},
        {"linear_layers": True},
        samples=300,
        least=5.0,
    ),
    "matmul": Case(
        model(
            """
            p = MatMul (x, w1)
            a = Add (p, b1)
            r = Relu (a)
            b = MatMul (r, w2)
            d = Add (b, r)
            y = MatMul (d, w3)
            """,
            "float[N, T, 48] x",
            "float[N, T, 40] y",
            **weights(w1=(48, 64), w2=(64, 64), w3=(64, 40)) | {"b1": np.zeros(64, np.float32)},
        ),
        lambda seed: smooth(1, channels=1, size=48, seed=seed)[:, 0, ::3],
        {"p": ("channel-out", (8,)), "b": ("channel-out", (16,)), "y": ("channel-out", (8,))},
        {"linear_layers": True},
    ),
}
every_kind = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def in_weight_space(case: Case) -> dict[str, Fit]:
    found = {}
    for site in case.sites():
        if site.output in case.plan:
            assert site.stage is not None
            scheme, rank = case.plan[site.output]
            (chosen,) = sepfactor.factor.select_schemes([scheme])
            bare = Factorization(chosen.decompose(site.stage).build(rank), site.bias)
            found[site.output] = Fit(bare, scheme, None, 0, 0)
    return found


@every_kind
def test_fitted_beats_bare_weights(case: Case) -> None:
    """On samples not fitted to."""
    unseen = case.feeds(24, seed=1000)
    bare = off_by(built(case.proto, in_weight_space(case), **case.options), case.proto, unseen)
    found = fitted(case.proto, case.plan, case.feeds(2 * case.samples), **case.options)
    after = off_by(built(case.proto, found, **case.options), case.proto, unseen)
    assert set(found) >= set(case.plan)
    assert after < 0.7 * bare


@pytest.fixture
def way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and candidates that count as twice as fast."""
    monkeypatch.chdir(tmp_path)
    decide_times(monkeypatch, 2.0)
    return tmp_path


@every_kind
def test_the_whole_way_from_python(case: Case, way: Path) -> None:
    data = {"x": np.concatenate([feed["x"] for feed in case.feeds(case.samples)])}
    given = {"data": data, "bench_seconds": 0, **case.options}
    result = sepfactor.compress(case.proto, "out.onnx", rank=2, **given)
    assert result.report.totals.replaced >= 2
    check(onnx.load("out.onnx"))
    for layer, site in zip(result.report.layers, case.sites(), strict=True):
        assert layer.weight_shape == site.weight_shape
        assert layer.macs_before
        assert layer.milliseconds_before is not None
        assert len(layer.map_size) == len(layer.strides) == len(layer.weight_shape) - 2
    again = sepfactor.compress(case.proto, "again.onnx", plan=result.plan, data=data, bench_seconds=0)
    assert again.report.totals.replaced == result.report.totals.replaced
    assert (way / "again.onnx").read_bytes() == (way / "out.onnx").read_bytes()


@every_kind
def test_the_whole_way_from_the_command_line(case: Case, way: Path) -> None:
    onnx.save(case.proto, "model.onnx")
    np.savez("data.npz", x=np.concatenate([feed["x"] for feed in case.feeds(case.samples)]))
    common = ["model.onnx", "--data", "data.npz", *case.flags]
    for arguments in (
        ["inspect", *common],
        ["plan", *common, "--max-macs", "70%", "-o", "plan.json"],
        ["apply", "model.onnx", "plan.json", "-o", "applied.onnx", "--bench-seconds", "0"],
        ["compress", *common, "--min-snr", str(case.least), "--bench-seconds", "0.1", "-o", "out.onnx"],
    ):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        assert "unexpectedly" not in done.output
    for file in ("applied.onnx", "out.onnx"):
        check(onnx.load(file))
    right, found = (outputs(net, case.feeds(24)) for net in (case.proto, (way / "out.onnx").read_bytes()))
    assert np.linalg.norm(found - right) < 10 ** ((1 - case.least) / 20) * np.linalg.norm(right)


@pytest.mark.parametrize("case", [c for name, c in CASES.items() if name != "conv-3d"])
def test_times_of_one_kind_are_not_those_of_another(case: Case) -> None:
    """Of the same weight over the same map, in the micro-benchmark of either kind."""
    site, cache = case.sites()[-1], MemoryCache()
    assert site.stage is not None
    for stage, kind in ((replace(site.stage, upsampling=()), CONV_2D), (site.stage, site.kind)):
        dense = Factorization.of(stage)
        place = Place((1, 9), 1, np.dtype(np.float32), kind)
        (time,) = LayerTimer(ENGINE, 0, cache).times(dense, [dense], place)
        assert time is not None
    assert len(cache.entries) == 2


@pytest.mark.usefixtures("way")
def test_a_1d_layer_that_stays_is_written_over_a_row_unless_left_alone() -> None:
    """Only where another one is replaced: a network with nothing to replace stays as it is."""
    proto = model(
        """
        [one] a = Conv <pads = [2, 2]> (x, w1)
        r = Relu (a)
        [two] b = Conv <pads = [2, 2]> (r, w2)
        s = Relu (b)
        [three] y = Conv <pads = [2, 2]> (s, w3)
        """,
        "float[N, 16, L] x",
        "float[N, 16, L] y",
        **{f"w{k}": normal(16, 16, 5, seed=k) / np.float32(9) for k in (1, 2, 3)},
    )
    data = {"x": normal(6, 16, 30)}
    given: dict[str, Any] = {"data": data, "bench_seconds": 0, "refit": False, "max_error": 1e-6}
    for layers, axes in (
        ({}, [1, 1, 1]),
        ({"one": {"rank": 1, "scheme": "depthwise-pointwise"}}, [2, 2, 2, 1]),
    ):
        result = sepfactor.compress(proto, ignore="three", layers=layers, **given)
        graph = ir.to_proto(result.model).graph
        shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
        found = [len(shapes[node.input[1]]) - 2 for node in graph.node if node.op_type == "Conv"]
        assert found == axes
    assert [layer.replaced for layer in result.report.layers] == [True, False, False]
    check(ir.to_proto(result.model))
