"""Eight bits as a choice: by times and losses, within the budget, and written down in the plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

import sepfactor
from sepfactor.cli import main
from sepfactor.deliver.result import Result
from sepfactor.errors import NothingToReplace, OptionError, PlanError
from sepfactor.plans.document import Plan, read_plan
from sepfactor.plans.machine import BorderTimes
from sepfactor.progress import TakeBest
from sepfactor.search import finals
from tests.fit.small import outputs, smooth, weights
from tests.graph.build import model
from tests.timing import fit_briefly, times_by_macs

DATA = smooth(24)
ASKED: dict[str, Any] = {"data": {"x": DATA}, "bench_seconds": 0, "int8": True, "tidy": False}


@pytest.fixture(autouse=True)
def _decided(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    times_by_macs(monkeypatch)
    fit_briefly(monkeypatch)
    monkeypatch.chdir(tmp_path)


def network() -> onnx.ModelProto:
    same = "<pads = [1, 1, 1, 1]>"
    return model(
        f"""
        a = Conv {same} (x, w1, b1)
        r = Relu (a)
        b = Conv {same} (r, w2, b2)
        s = Relu (b)
        t = Sigmoid (s)
        y = Conv {same} (t, w3, b3)
        """,
        "float[N, 3, H, W] x",
        "float[N, 3, H, W] y",
        **weights(w1=(32, 3, 3, 3), w2=(32, 32, 3, 3), w3=(3, 32, 3, 3)),
    )


@cache
def compressed() -> Result:
    """What becomes of it within a budget: searched for once, as it is the same each time."""
    return sepfactor.compress(network(), min_snr=25.0, **ASKED)


def snr(one: Any, other: Any) -> float:
    feeds = [{"x": image[None]} for image in smooth(8, seed=9)]
    a, b = outputs(one, feeds), outputs(other, feeds)
    return float(10 * np.log10(np.sum((a - a.mean()) ** 2) / np.sum((a - b) ** 2)))


def precisions(plan: Plan) -> dict[str, str]:
    return {layer.output: layer.precision for layer in plan.layers}


def test_eight_bits_where_they_are_asked_for_and_keep_the_budget() -> None:
    found = compressed()
    assert found.is_met
    assert "int8" in precisions(found.plan).values()
    assert found.plan.int8 is not None
    found.save("out.onnx")
    assert snr(network(), onnx.load("out.onnx")) > 24
    plain = sepfactor.compress(network(), min_snr=25.0, **{**ASKED, "int8": False})
    assert set(precisions(plain.plan).values()) == {"float"}
    assert plain.plan.int8 is None


ALL_INT8 = "all in eight bits, nothing factored"


def test_what_quantisation_alone_makes_of_it_is_always_among_what_is_built() -> None:
    found = compressed()
    assert ALL_INT8 in {point.label for point in found.report.front}


def test_what_comes_out_fastest_in_turns_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever layers promised by themselves, and whole plans beside the original."""
    assert [point.label for point in compressed().report.front if point.chosen] != [ALL_INT8]

    def decided(_: object, networks: Sequence[tuple[str, object]], *__: object, **___: object) -> object:
        ratios = [100.0 if name == ALL_INT8 else 1.0 for name, _ in networks]
        ratio = {number: SimpleNamespace(ratio=one) for number, one in enumerate(ratios)}
        return SimpleNamespace(ratio=lambda number, **_: ratio[number], is_disturbed=False)

    monkeypatch.setattr(finals, "open_and_time", decided)
    monkeypatch.setattr(finals, "_NEAR", 1e3)
    monkeypatch.setattr(finals, "_FINALISTS", 99)
    found = sepfactor.compress(network(), min_snr=25.0, **ASKED)
    assert [point.label for point in found.report.front if point.chosen] == [ALL_INT8], found.report.front


def test_the_best_so_far_is_not_only_what_needs_no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the search is broken off before a plan was fitted with care."""

    def report(step: str, done: int, total: int, detail: str) -> None:
        if "fitted with care" in detail:
            raise TakeBest

    found = sepfactor.compress(network(), min_snr=25.0, progress=report, **ASKED)
    assert found.is_met
    assert [point.label for point in found.report.front if point.chosen] != [ALL_INT8]


def test_reduced_range_means_nothing_in_float() -> None:
    with pytest.raises(OptionError, match="reduce-range"):
        sepfactor.compress(network(), min_snr=25.0, **{**ASKED, "int8": False, "reduce_range": True})


def test_a_network_without_a_form_in_eight_bits_has_a_profile_of_them_all_the_same() -> None:
    """An empty one: that nothing can be there is known."""
    line = model(
        "y = Conv <pads = [1, 1]> (x, w)", "float[N, 8, L] x", "float[N, 8, L] y", **weights(w=(8, 8, 3))
    )
    data = {"x": np.ascontiguousarray(DATA[:8, :1, :, 0].repeat(8, axis=1))}
    found = sepfactor.profile(line, data=data, int8=True, tidy=False, bench_seconds=0)
    assert found.int8 is not None and not found.int8.layers
    assert sepfactor.profile(line, data=data, tidy=False, bench_seconds=0).int8 is None


@pytest.mark.parametrize(
    "damage", [{"up": [0.0]}, {"sizes": []}, {"sizes": [0, 1, 2]}, {"sizes": [9, 9, 10]}]
)
def test_damaged_times_of_borders_are_refused(damage: dict[str, Any]) -> None:
    three = {"sizes": [1, 2, 3], "up": [0.0] * 3, "down": [0.0] * 3, "sums": [0.0] * 3}
    BorderTimes.model_validate(three)
    with pytest.raises(ValidationError):
        BorderTimes.model_validate({**three, **damage})


def test_a_budget_that_eight_bits_do_not_keep_keeps_them_out() -> None:
    try:
        plan = sepfactor.compress(network(), min_snr=75.0, **ASKED).plan
    except NothingToReplace:
        return
    assert set(precisions(plan).values()) == {"float"}


def test_the_plan_is_enough_to_write_the_same_bytes() -> None:
    found = compressed()
    found.save("first.onnx")
    Path("plan.json").write_text(found.plan.to_json())
    assert read_plan(Path("plan.json")).digest() == found.plan.digest()
    again = sepfactor.apply(network(), "plan.json", "second.onnx", data={"x": DATA}, bench_seconds=0)
    assert precisions(again.plan) == precisions(found.plan)
    first, second = (onnx.load(name) for name in ("first.onnx", "second.onnx"))
    assert first.graph.SerializeToString() == second.graph.SerializeToString()


def test_values_that_are_taken_out_of_the_plan_are_found_anew() -> None:
    found = compressed()
    assert found.plan.int8 is not None
    without = found.plan.model_copy(update={"int8": found.plan.int8.model_copy(update={"values": ()})})
    again = sepfactor.apply(network(), without, data={"x": DATA}, bench_seconds=0)
    assert again.plan.int8 == found.plan.int8
    assert without.digest() != found.plan.digest()


def test_a_plan_that_cannot_be() -> None:
    found = compressed()
    assert found.plan.int8 is not None
    one = found.plan.int8.model_copy(update={"values": found.plan.int8.values[:1]})
    with pytest.raises(PlanError, match="says nothing of the codes"):
        sepfactor.apply(network(), found.plan.model_copy(update={"int8": one}), data={"x": DATA})


def test_eight_bits_need_a_budget() -> None:
    with pytest.raises(OptionError, match="int8 is chosen under a budget"):
        sepfactor.compress(network(), **{**ASKED, "rank": 4})


def test_on_the_command_line() -> None:
    onnx.save(network(), "model.onnx")
    np.savez("data.npz", x=DATA)
    asked = ["compress", "model.onnx", "-o", "out.onnx", "--data", "data.npz", "--int8", "--min-snr", "25"]
    asked += ["--no-tidy", "--ignore", "b"]
    ran = CliRunner().invoke(main, [*asked, "--bench-seconds", "0", "--json", "report.json"])
    assert ran.exit_code == 0, ran.output
    layers = {layer["output"]: layer for layer in json.loads(Path("report.json").read_text())["layers"]}
    assert layers["b"]["precision"] == "float"  # as what is left alone stays
    assert "8-bit" in ran.stdout
    made = onnx.load("out.onnx")
    onnx.checker.check_model(made, full_check=True)
    assert any(node.op_type == "QuantizeLinear" for node in made.graph.node)


def test_weights_of_seven_bits_cannot_saturate_and_an_older_network_is_raised_and_that_is_said() -> None:
    old = network()
    old.opset_import[0].version = 11
    found = sepfactor.compress(old, "out.onnx", min_snr=20.0, reduce_range=True, **ASKED)
    written = onnx.load("out.onnx")
    stored = [onnx.numpy_helper.to_array(one) for one in written.graph.initializer]
    codes = [array for array in stored if array.dtype == np.int8 and array.ndim == 4]
    assert codes
    assert max(2 * 255 * int(np.abs(array).max()) for array in codes) < 2**15
    assert not any("saturate" in note for note in found.report.notes)
    again = sepfactor.apply(old, found.plan, data={"x": DATA}, bench_seconds=0)
    assert ir.to_proto(again.model).graph == written.graph
    assert written.opset_import[0].version == 13
    assert any("operator set 13" in note for note in found.report.notes)
    assert old.opset_import[0].version == 11


def test_precisions_written_into_a_plan_by_hand_are_built() -> None:
    plain = sepfactor.compress(network(), min_snr=25.0, **{**ASKED, "int8": False}).plan
    options = {**plain.options, "int8": True}
    layers = tuple(layer.model_copy(update={"precision": "int8"}) for layer in plain.layers)
    by_hand = plain.model_copy(update={"layers": layers, "options": options})
    found = sepfactor.apply(network(), by_hand, data={"x": DATA}, bench_seconds=0)
    assert found.plan.int8 is not None
    assert [node.op_type for node in found.model.graph].count("QuantizeLinear") > 2


def test_the_same_bytes_whatever_memory_there_is() -> None:
    found = compressed()
    graphs = []
    for memory in ("2GB", "100KB"):
        again = sepfactor.apply(network(), found.plan, data={"x": DATA}, bench_seconds=0, memory=memory)
        graphs.append(ir.to_proto(again.model).graph.SerializeToString())
    assert graphs[0] == graphs[1]


def test_another_machine_says_what_eight_bits_take_there() -> None:
    asked: dict[str, Any] = {"data": {"x": DATA}, "tidy": False}
    far = sepfactor.profile(network(), int8=True, **asked)
    assert far.int8 is not None
    assert far.int8.layers.keys() == {"a", "b", "y"}
    Path("far.json").write_text(far.to_json())
    _, (plan,) = sepfactor.plan(network(), profile="far.json", int8=True, min_snr=20.0, **asked)
    assert "int8" in precisions(plan).values()
    (dear, borders) = (far.int8.layers, far.int8.borders)
    slow = far.int8.model_copy(
        update={
            "layers": {name: 1e3 * ms for name, ms in dear.items()},
            "borders": borders.model_copy(update={"up": (1.0,) * 3, "down": (1.0,) * 3}),
        }
    )
    Path("slow.json").write_text(far.model_copy(update={"int8": slow}).to_json())
    _, (plan,) = sepfactor.plan(network(), profile="slow.json", int8=True, min_snr=20.0, **asked)
    assert set(precisions(plan).values()) == {"float"}


def test_a_profile_of_float_alone_does_not_say_what_eight_bits_take() -> None:
    asked: dict[str, Any] = {"data": {"x": DATA}, "tidy": False}
    Path("far.json").write_text(sepfactor.profile(network(), **asked).to_json())
    with pytest.raises(PlanError, match="of float alone"):
        sepfactor.plan(network(), profile="far.json", int8=True, min_snr=20.0, **asked)
