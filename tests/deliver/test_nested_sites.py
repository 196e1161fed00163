"""Networks with convolutions in bodies go the whole way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import sepfactor
from sepfactor.cli import main
from tests.graph.build import Feed, check, interface, model, normal, run
from tests.graph.nested import NESTED, Nested
from tests.timing import decide_times

SAMPLES = 24
RUN = {name: nested for name, nested in NESTED.items() if "no turns" not in name and "else" not in name}


@pytest.fixture(autouse=True)
def way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, and candidates that count as twice as fast."""
    monkeypatch.chdir(tmp_path)
    decide_times(monkeypatch, 2.0)


def feeds(nested: Nested, seed: int = 0, count: int = SAMPLES) -> list[Feed]:
    """Of one image each."""
    images = normal(count, 3, 6, 5, seed=seed + 1)
    return [dict(nested.feed) | {"x": image[None]} for image in images]


def off(nested: Nested, path: str) -> float:
    """Relative error on samples nobody fitted to."""
    unseen = feeds(nested, seed=9)
    right, found = (
        np.concatenate([run(net, feed)[0] for feed in unseen]) for net in (nested.proto, onnx.load(path))
    )
    return float(np.linalg.norm(found - right) / np.linalg.norm(right - right.mean()))


@pytest.mark.parametrize("nested", RUN.values(), ids=RUN.keys())
def test_all_of_it_is_replaced_and_fitted(nested: Nested) -> None:
    given = {"data": feeds(nested), "bench_seconds": 0, "scheme": ["channel-out"]}
    result = sepfactor.compress(nested.proto, "out.onnx", rank=2, **given)
    layers = {layer.name: layer for layer in result.report.layers}
    assert [layer.name for layer in result.report.layers] == ["first", "inner", "last"]
    assert result.report.totals.replaced == 3
    inner = layers["inner"]
    assert inner.map_size == (6, 5)
    assert inner.milliseconds_before is not None
    assert inner.milliseconds_after is not None
    assert inner.output_error < 0.9 * inner.unfitted_error
    check(onnx.load("out.onnx"))
    assert interface(onnx.load("out.onnx")) == interface(nested.proto)
    sepfactor.compress(nested.proto, "bare.onnx", rank=2, refit=False, **given)
    assert off(nested, "out.onnx") < 0.98 * off(nested, "bare.onnx")
    again = sepfactor.compress(
        nested.proto, "again.onnx", plan=result.plan, data=given["data"], bench_seconds=0
    )
    assert again.report.totals.replaced == 3
    assert Path("again.onnx").read_bytes() == Path("out.onnx").read_bytes()


@pytest.mark.parametrize("name", ["else", "loop of no turns"])
def test_what_never_ran_on_the_data_stays(name: str) -> None:
    nested = NESTED[name]
    result = sepfactor.compress(nested.proto, "out.onnx", rank=2, data=feeds(nested), bench_seconds=0)
    layers = {layer.name: layer for layer in result.report.layers}
    assert not layers["inner"].replaced
    assert (
        str(layers["inner"].reason)
        == "it did not run on the data, or not in turns of one size: its map is unknown"
    )
    assert layers["first"].replaced
    check(onnx.load("out.onnx"))


def test_a_branch_that_only_some_images_take() -> None:
    nested = NESTED["then"]
    data = feeds(nested)
    for number, feed in enumerate(data):
        feed["q"] = np.array(number % 7 == 0)
    result = sepfactor.compress(nested.proto, "out.onnx", rank=2, data=data, bench_seconds=0)
    layers = {layer.name: layer for layer in result.report.layers}
    assert layers["inner"].replaced
    assert layers["inner"].output_error < layers["inner"].unfitted_error
    assert np.isfinite(off(nested, "out.onnx"))


@pytest.mark.parametrize("even", [0, 6, SAMPLES - 1])
def test_turns_of_a_scan_that_differ_in_size(even: int) -> None:
    """They do not stack, so they cannot be looked at; what is around them is replaced all the same.

    Some images may have turns of one size: what is seen of those is all there is to go by.
    """
    proto = model(
        """[first] a = Conv<pads = [1,1,1,1]>(x, w)
           b, out = Scan<num_scan_inputs = 1, body = body (float[N,3,H,W] s, int64 n)
           => (float[N,3,H,W] r, int64 o) { ends = Unsqueeze(n, zero)  part = Slice(s, zero, ends, two)
             [inner] c = Conv<pads = [1,1,1,1]>(part, w)  most = ReduceMax<keepdims = 0>(c)  r = Add(s, most)
             o = Identity(n) }>(a, counts)""",
        "float[N,3,H,W] x, int64[2] counts",
        "float[N,3,P,Q] b",
        zero=np.array([0]),
        two=np.array([2]),
        w=normal(3, 3, 3, 3) / 3,
    )
    sizes = [np.array([3, 3 if number < even else 5]) for number in range(SAMPLES)]
    images = normal(SAMPLES, 3, 6, 6)
    data = [{"x": x[None], "counts": size} for x, size in zip(images, sizes, strict=True)]
    result = sepfactor.compress(proto, "out.onnx", rank=2, data=data, bench_seconds=0)
    layers = {layer.name: layer for layer in result.report.layers}
    assert layers["first"].replaced
    assert even or "not in turns of one size" in str(layers["inner"].reason)
    assert run(onnx.load("out.onnx"), data[0])[0].shape == (1, 3, 6, 6)


def test_a_branch_taken_late() -> None:
    """After more samples than are usually looked at."""
    nested = NESTED["then"]
    data = feeds(nested, count=60)
    for number, feed in enumerate(data):
        feed["q"] = np.array(number >= 50)
    result = sepfactor.compress(nested.proto, rank=2, data=data, bench_seconds=0, refit=False)
    assert {layer.name: layer.replaced for layer in result.report.layers}["inner"]


def test_a_loop_whose_turns_depend_on_what_it_computes() -> None:
    """Where the compressed network turns less or more often, those images are not fitted to."""
    proto = model(
        """b = Loop(many, yes, x) <body = l (int64 i, bool k, float[N,3,H,W] s) => (bool d, float[N,3,H,W] r)
            { [inner] c = Conv<pads = [1,1,1,1]>(s, w)  r = Relu(c)
              top = ReduceMax<keepdims = 0>(r)  d = Less(top, limit) }>""",
        "float[N,3,H,W] x",
        "float[N,3,P,Q] b",
        many=np.array(9),
        yes=np.array(True),
        limit=np.float32(3),
        w=normal(3, 3, 3, 3) / 3,
    )
    data = [{"x": x[None]} for x in normal(SAMPLES, 3, 6, 6)]
    result = sepfactor.compress(proto, "out.onnx", rank=2, data=data, bench_seconds=0)
    (layer,) = result.report.layers
    assert layer.replaced
    for feed in data:
        (found,) = run(onnx.load("out.onnx"), feed)
        assert np.isfinite(found).all()


@pytest.mark.parametrize("name", ["loop", "if in a loop", "scan"])
def test_from_the_command_line(name: str) -> None:
    nested = NESTED[name]
    onnx.save(nested.proto, "model.onnx")
    np.savez("data.npz", x=np.concatenate([feed["x"] for feed in feeds(nested)]), q=nested.feed["q"])
    common = ["model.onnx", "--data", "data.npz"]
    for arguments in (
        ["inspect", *common],
        ["plan", *common, "--max-macs", "80%", "-o", "plan.json"],
        ["apply", "model.onnx", "plan.json", "-o", "applied.onnx", "--bench-seconds", "0"],
        ["compress", *common, "--min-snr", "3", "-o", "out.onnx", "--bench-seconds", "0"],
    ):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        assert "inner" in done.output or arguments[0] != "inspect"
    for path in ("applied.onnx", "out.onnx"):
        check(onnx.load(path))
    assert off(nested, "out.onnx") < 1
