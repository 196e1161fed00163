from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sepfactor.errors import ModelError, OptionError, OutputError, SepfactorError
from sepfactor.measure import OnnxRuntime
from sepfactor.measure.onnxruntime_session import complaint
from tests.measure.models import TWO_CONVOLUTIONS, model, scaled

RELU = model("y = Relu(x)", "float[N,3] x", "float[N,3] y")
X = np.array([[-1.0, 0.0, 2.0]], np.float32)


def test_importing_measure_leaves_onnxruntime_alone() -> None:
    code = "import sys, sepfactor.measure as m; sys.exit('onnxruntime' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("threads", [0, 1, 2])
@pytest.mark.parametrize("level", ["all", "basic", "none"])
def test_runs_what_it_opened(threads: int, level: str) -> None:
    session = OnnxRuntime(threads).open(RELU, level=level)
    (y,) = session.run({"x": X})
    np.testing.assert_array_equal(y, np.maximum(X, 0))


def test_a_path_and_bytes_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(RELU)
    session = OnnxRuntime().open(tmp_path / "m.onnx")
    np.testing.assert_array_equal(session.run({"x": X})[0], np.maximum(X, 0))


@pytest.mark.parametrize("name", ["cpu", "CPU", "CPUExecutionProvider"])
def test_provider_names(name: str) -> None:
    assert OnnxRuntime(provider=name).provider_name() == "CPUExecutionProvider"


@pytest.mark.parametrize("name", ["", "abacus", "ExecutionProvider"])
def test_unknown_provider_lists_the_known(name: str) -> None:
    with pytest.raises(OptionError, match=r"Available are .*cpu"):
        OnnxRuntime(provider=name).open(RELU)


def test_negative_threads_are_refused() -> None:
    with pytest.raises(OptionError, match="-1 threads"):
        OnnxRuntime(-1)


def test_optimised_graph_is_written_where_asked(tmp_path: Path) -> None:
    OnnxRuntime().open(TWO_CONVOLUTIONS, optimised_path=tmp_path / "o.onnx")
    assert (tmp_path / "o.onnx").stat().st_size > 0
    with pytest.raises(OutputError, match="nowhere"):
        OnnxRuntime().open(RELU, optimised_path=tmp_path / "nowhere" / "o.onnx")


def failing(call: Callable[[], object], kind: type[SepfactorError]) -> str:
    """The message, after checking that a person could read it."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for noise in ("ONNXRuntimeError", "Traceback", "onnxruntime::", ".cc:", ".h:"):
        assert noise not in message
    assert message.endswith(".")
    assert len(message) < 500
    return message


@pytest.mark.parametrize(
    ("bad", "said", "mend"),
    [
        (b"junk", "protobuf", "export it again"),
        (b"", "No graph", "export it again"),
        (model("y = Relu(x)", "float[N] x", "float[N] y", opset=99), "opset", "version_converter"),
        (model("y = Relu(q)", "float[N] x", "float[N] y"), "'q'", "check_model"),
        (model("y = Relu(x)", "bfloat16[N] x", "bfloat16[N] y"), "Relu", "float32"),
    ],
)
def test_a_bad_model_is_told_in_a_sentence(
    bad: bytes, said: str, mend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    message = failing(lambda: OnnxRuntime().open(bad), ModelError)
    assert said in message
    assert mend in message
    assert capfd.readouterr() == ("", "")  # onnxruntime itself says nothing


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    message = failing(lambda: OnnxRuntime().open(tmp_path / "no.onnx"), ModelError)
    assert message.count("no.onnx") == 1
    assert "Check the path" in message
    (tmp_path / "bad.onnx").write_text("hello")
    assert "bad.onnx" in failing(lambda: OnnxRuntime().open(tmp_path / "bad.onnx"), ModelError)


@pytest.mark.parametrize(
    ("feed", "fed"),
    [
        ({}, "nothing"),
        ({"x": X.astype(np.float64)}, r"x: float64 (1, 3)"),
        ({"x": X[:, :2]}, "x: float32 (1, 2)"),
        ({"x": X[0]}, "x: float32 (3)"),
        ({"z": X}, "z: float32 (1, 3)"),
        ({"x": "text"}, "x: str"),
    ],
)
def test_a_feed_that_does_not_fit_is_told_beside_what_would(
    feed: dict[str, np.ndarray], fed: str, capfd: pytest.CaptureFixture[str]
) -> None:
    session = OnnxRuntime().open(RELU)
    message = failing(lambda: session.run(feed), ModelError)
    assert "It takes x: tensor(float) (N, 3)" in message
    assert f"it was fed {fed}" in message
    assert capfd.readouterr() == ("", "")


def test_a_failure_inside_a_run_names_the_node() -> None:
    session = OnnxRuntime().open(model("y = MatMul(a, b)", "float[N,M] a, float[K,L] b", "float[P,Q] y"))
    feed = {"a": np.zeros((1, 3), np.float32), "b": np.zeros((4, 5), np.float32)}
    assert "MatMul" in failing(lambda: session.run(feed), ModelError)


def test_an_output_that_is_no_tensor_is_refused() -> None:
    split = model("y = SplitToSequence(x)", "float[N,3] x", "seq(float[M,3]) y")
    assert "'y'" in failing(lambda: OnnxRuntime().open(split).run({"x": X}), ModelError)


def test_a_warning_of_onnxruntime_is_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    lying = model("y = Relu(x)", "float[N,3] x", "float[N,M] y")
    wrong = model("y = MatMul(x, x)", "float[2,2] x", "float[5,5] y")
    OnnxRuntime(2).open(lying).run({"x": X})
    OnnxRuntime(0).open(wrong).run({"x": np.zeros((2, 2), np.float32)})
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("raw", "short"),
    [
        (
            "[ONNXRuntimeError] : 1 : FAIL : /a/b.cc:12 void o::f(const std::map<int, int>&) const Bad.",
            "Bad.",
        ),
        ("[ONNXRuntimeError] : 1 : FAIL : x.h:59 Compute mismatch\nStacktrace:\n#0 foo", "mismatch."),
        ("Got: 3 Expected: 16\n Please fix either the inputs/outputs or the model.", "Got: 3 Expected: 16."),
        ("", "RuntimeError."),
        ("word " * 100, "word " * 47 + "…"),
    ],
)
def test_complaint_is_short(raw: str, short: str) -> None:
    assert complaint(RuntimeError(raw)) == short


def test_environment_is_complete_and_json() -> None:
    here = OnnxRuntime(2).environment
    assert here.threads == 2
    assert here.provider == "CPUExecutionProvider"
    assert here.processor
    assert 1 <= here.usable_cores <= here.logical_cores
    assert here.physical_cores is None or here.physical_cores <= here.logical_cores
    plain = json.loads(here.model_dump_json())
    assert set(plain) >= {"onnxruntime", "onnx", "numpy", "sepfactor", "platform", "python"}
    assert all(value is not None for key, value in plain.items() if key != "physical_cores")


def test_scaled_model_is_as_the_other_tests_believe() -> None:
    session = OnnxRuntime().open(scaled(2.0))
    x = np.arange(6, dtype=np.float32)[None]
    image = np.ones((1, 1, 2, 2), np.float32)
    image2, scores, best = session.run({"x": x, "image": image})
    np.testing.assert_array_equal(scores, 2 * x)
    np.testing.assert_array_equal(image2, 2 * image)
    assert best.tolist() == [5]


def test_of_a_failure_within_others_the_innermost_is_told() -> None:
    """What holds it only says where it was."""
    holder = "Non-zero status code returned while running If node. Name:'{}' Status Message: "
    inner = "Non-zero status code returned while running Pad node. Name:'p' Status Message: too short"
    said = complaint(RuntimeError(holder.format("a") + holder.format("b/c") + inner))
    assert said == inner + "."
    assert complaint(RuntimeError(inner)) == inner + "."
