"""``tidy``: equal, written whole, and only what is no slower."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from sepfactor import tidy
from sepfactor.errors import ModelError, OptionError, OutputError
from sepfactor.graph.load import load
from sepfactor.graph.rewrites import Rule
from sepfactor.options import Options
from sepfactor.progress import silent
from sepfactor.results import Tidied
from sepfactor.study import rewriting
from sepfactor.study.study import open_study
from tests.engines import Shapes
from tests.graph.build import assert_same, check, interface, model, normal, run
from tests.timing import decide_engine

Decide = Callable[..., None]


def network() -> onnx.ModelProto:
    """With a PReLU between convolutions, a number behind one, and hard swish in pieces."""
    numbers = {"three": 3, "zero": 0, "six": 6, "k": 0.4}
    return model(
        "a = Conv <pads = [1, 1, 1, 1]> (x, w)  b = PRelu (a, p)  c = Conv (b, v)  d = Mul (c, k)"
        " e = Add (d, three)  f = Clip (e, zero, six)  g = Mul (d, f)  y = Div (g, six)",
        "float[N, 16, 12, 12] x",
        "float[N, 16, P, Q] y",
        w=normal(16, 16, 3, 3) / 9,
        v=normal(16, 16, 3, 3, seed=1) / 9,
        p=normal(16, 1, 1),
        **{name: np.float32(number) for name, number in numbers.items()},
    )


@pytest.fixture
def decide(monkeypatch: pytest.MonkeyPatch) -> Decide:
    """Let nodes take so many milliseconds by their type, and others one."""

    def by_type(**costs: float) -> None:
        def cost(node: onnx.NodeProto, shapes: Shapes) -> float:
            return costs.get(node.op_type, 1.0)

        decide_engine(monkeypatch, cost)

    return by_type


def becomes(name: str, old: str, new: str) -> Rule:
    """A rule by which one operator becomes another that reads the same."""

    def check_type(node: Any, opset: int) -> Any:
        if node.op_type != old:
            return None
        inputs = node.inputs[:1] if new == "Abs" else node.inputs
        return lambda edit: {node.outputs[0]: edit.emit(new, inputs)}

    return Rule(name, "one operator for another", check_type)


def kept(result: Tidied) -> dict[str, bool]:
    return {row.rule: row.kept for row in result.rules}


def codes(result: Tidied) -> dict[str, str]:
    return {row.rule: row.reason.code for row in result.rules if row.reason}


def operators(file: Path) -> list[str]:
    return [node.op_type for node in onnx.load(file).graph.node]


def test_it_computes_what_it_did(tmp_path: Path, decide: Decide) -> None:
    decide(PRelu=16)
    proto, file = network(), tmp_path / "tidy.onnx"
    result = tidy(proto, file)
    # Add, Clip, Mul, Div → HardSwish; Mul into the weights; PRelu → two Conv, Relu and Add at least.
    assert kept(result) == {"hard-swish": True, "fold-backward": True, "prelu": True}
    assert result.is_changed
    assert result.speedup is not None
    assert result.result is not None
    saved = [row.saves_ms for row in result.rules]
    assert saved[:2] == pytest.approx([3.0, 1.0])
    assert sum(saved) == pytest.approx(result.original.median_ms - result.result.median_ms)
    assert result.speedup.ratio == pytest.approx(result.original.median_ms / result.result.median_ms)
    written = onnx.load(file)
    check(written)
    assert interface(written) == interface(proto)
    feed = {"x": normal(3, 16, 12, 12)}
    assert_same(run(written, feed), run(proto, feed))
    (output,) = result.outputs
    assert output.snr_db > 100


def test_what_makes_it_slower_is_left_out(tmp_path: Path, decide: Decide) -> None:
    decide(PRelu=16, HardSwish=9)
    result = tidy(network(), tmp_path / "tidy.onnx")
    assert codes(result) == {"hard-swish": "slower"}
    assert "HardSwish" not in operators(tmp_path / "tidy.onnx")


def test_what_adds_nodes_has_to_be_faster(tmp_path: Path, decide: Decide) -> None:
    decide(PRelu=1, Conv=0)
    result = tidy(network(), tmp_path / "tidy.onnx")
    assert result.is_changed
    assert codes(result).keys() == {"prelu"}
    assert "PRelu" in operators(tmp_path / "tidy.onnx")


def test_what_is_slower_only_once_others_are_left_out_is_left_out_too(
    monkeypatch: pytest.MonkeyPatch, decide: Decide
) -> None:
    """The second finds nothing while the first is there."""
    decide(Sum=9, PRelu=16)
    rules = (becomes("one", "Add", "Sum"), becomes("two", "Add", "Sum"))
    monkeypatch.setattr(rewriting, "REWRITES", rules)
    result = tidy(network())
    assert codes(result) == {"one": "slower", "two": "slower"}
    assert not result.is_changed


def test_what_eight_bits_are_slower_for_is_left_out_where_they_may_be_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cost(node: onnx.NodeProto, shapes: Shapes) -> float:
        is_int8 = any(name.startswith("sepfactor/int8") for name in node.input)
        return {"PRelu": 60.0, "Conv": 20.0}.get(node.op_type, 1.0) if not is_int8 else 1.0

    decide_engine(monkeypatch, cost)

    def rules(**asked: Any) -> tuple[str, ...]:
        feeds = {"x": normal(8, 16, 12, 12)}
        options = Options(data=feeds, bench_seconds=0, cache=False, **asked)
        return open_study(load(network().SerializeToString()), options, silent).network.rewrites

    assert "prelu" in rules()
    assert "prelu" not in rules(int8=True, min_snr=20)
    assert "hard-swish" in rules(int8=True, min_snr=20)


def test_what_is_no_faster_in_the_end_stays_as_it_was(tmp_path: Path, decide: Decide) -> None:
    decide(Conv=1, **dict.fromkeys(("PRelu", "Mul", "Add", "Clip", "Div", "Relu", "HardSwish"), 0))
    file = tmp_path / "tidy.onnx"
    result = tidy(network(), file)
    assert not result.is_changed
    assert result.speedup is None
    assert result.result is None
    assert operators(file) == [node.op_type for node in network().graph.node]
    assert codes(result) == {"hard-swish": "no-gain", "fold-backward": "no-gain", "prelu": "slower"}
    assert "nothing was found" in result.headline


def test_what_is_not_equal_is_left_out(
    monkeypatch: pytest.MonkeyPatch, decide: Decide, tmp_path: Path
) -> None:
    decide(PRelu=16)
    monkeypatch.setattr(rewriting, "REWRITES", (becomes("wrong", "PRelu", "Abs"),))
    result = tidy(network(), tmp_path / "tidy.onnx")
    assert codes(result) == {"wrong": "differs"}
    assert not result.is_changed


def test_what_cannot_be_run_is_left_out(
    monkeypatch: pytest.MonkeyPatch, decide: Decide, tmp_path: Path
) -> None:
    decide(PRelu=16)
    monkeypatch.setattr(rewriting, "REWRITES", (becomes("broken", "PRelu", "NoSuchOperator"),))
    result = tidy(network(), tmp_path / "tidy.onnx")
    assert codes(result) == {"broken": "differs"}
    assert not result.is_changed


def test_what_is_written_wrongly_is_not_put_in_place(
    monkeypatch: pytest.MonkeyPatch, decide: Decide, tmp_path: Path
) -> None:
    decide(PRelu=16)
    monkeypatch.setattr(rewriting, "_unequal", lambda *_: None)
    monkeypatch.setattr("sepfactor.measure.reference.Reference.is_equal", lambda *_: False)
    with pytest.raises(ModelError, match="defect of sepfactor"):
        tidy(network(), tmp_path / "tidy.onnx")
    assert not [*tmp_path.iterdir()]


def test_data_that_is_given_is_compared_on(decide: Decide) -> None:
    decide()
    result = tidy(network(), data={"x": normal(2, 16, 12, 12)})
    assert not result.data.synthetic
    assert result.output is None


def test_an_output_that_is_one_number_is_told(decide: Decide) -> None:
    """Zeros equal zeros, whatever became of what they are made of."""
    decide()
    text = "a = PRelu (x, p)  b = Abs (a)  c = Neg (b)  y = Relu (c)"
    proto = model(text, "float[N, 4] x", "float[N, 4] y", p=np.full(1, 0.1, np.float32))
    (note,) = tidy(proto).notes
    assert "y is one number everywhere" in note
    assert not tidy(network()).notes


def test_nothing_is_replaced_by_accident(tmp_path: Path) -> None:
    file, other = tmp_path / "model.onnx", tmp_path / "other.onnx"
    onnx.save(network(), file)
    other.write_text("mine")
    with pytest.raises(OptionError, match="used otherwise"):
        tidy(file, file, overwrite=True)
    with pytest.raises(OutputError, match="exists already"):
        tidy(file, other)
    assert onnx.load(file) == network()
    assert other.read_text() == "mine"


def test_the_clock_is_told() -> None:
    result = tidy(network(), bench_seconds=0)
    assert result.original.clock == result.environment.clock
    assert tidy(network(), bench_seconds=0, threads=2).original.clock == "wall"
