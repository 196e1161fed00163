"""Every way in, and a sentence for whatever is no model."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from sepfactor.errors import ModelError
from sepfactor.graph.instrument import serialized
from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.save import publish, staged
from sepfactor.graph.survey import survey
from tests import networks
from tests.graph.build import assert_same, model, normal, run

PROTO = model(
    "[c] a = Conv<pads = [1,1,1,1]>(x, w)  y = Relu(a)",
    "float[N,4,H,W] x",
    "float[N,4,H,W] y",
    w=normal(4, 4, 3, 3),
)
DATA = PROTO.SerializeToString()
FEED = {"x": normal(1, 4, 6, 7)}


def complaint(source: object) -> str:
    """The message, after checking that a person could read it."""
    with pytest.raises(ModelError) as caught:
        load(source)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text.split()) > 5
    return text


def test_a_path_bytes_a_proto_and_a_graph_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(DATA)
    expected = run(DATA, FEED)
    for source in (path, str(path), DATA, PROTO, ir.from_proto(PROTO)):
        loaded = load(source)
        assert [node.op_type for node in loaded.model.graph] == ["Conv", "Relu"]
        runnable = loaded.runnable if isinstance(loaded.runnable, bytes) else loaded.runnable.read_bytes()
        assert_same(run(runnable, FEED), expected)
        assert loaded.name
        assert loaded.path == (path if loaded.name == "net.onnx" else None)
    assert path.read_bytes() == DATA
    assert PROTO.SerializeToString() == DATA


def test_a_proto_without_a_name_has_one_in_reports() -> None:
    nameless = onnx.ModelProto.FromString(DATA)
    nameless.graph.name = ""
    assert load(nameless).name == load(ir.from_proto(nameless)).name == "model"


def without(field: str) -> bytes:
    proto = onnx.ModelProto.FromString(DATA)
    proto.ClearField(field)
    return proto.SerializeToString()


BAD = {
    "empty": b"",
    "random": np.random.default_rng(0).bytes(1000),
    "text": b"\x89PNG or a web page saying <html>404</html>",
    "a tensor": numpy_helper.from_array(normal(3)).SerializeToString(),
    "a graph": PROTO.graph.SerializeToString(),
    "no graph": without("graph"),
    "no opset": without("opset_import"),
    "no version": without("ir_version"),
    "cut in half": DATA[: len(DATA) // 2],
    "one byte short": DATA[:-1],
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_a_file_that_is_no_model_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(data)
    assert str(path) in complaint(path)
    assert path.read_bytes() == data
    assert "the model" in complaint(data)


def test_a_path_that_is_no_readable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    for path in (tmp_path, tmp_path / "missing.onnx", tmp_path / "file" / "below", tmp_path / ("n" * 300)):
        assert str(path) in complaint(path)


def test_a_file_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # tests may run as root, whom nothing refuses
    text = complaint(tmp_path / "secret.onnx")
    assert "secret.onnx" in text
    assert "Permission denied" in text


def test_an_empty_proto_holds_no_graph() -> None:
    assert "no graph" in complaint(onnx.ModelProto())


def test_a_graph_that_is_no_valid_onnx() -> None:
    proto = onnx.ModelProto.FromString(DATA)
    proto.graph.node[0].output[0] = "y"
    text = complaint(proto)
    assert "not valid ONNX" in text
    assert "'y'" in text or '"y"' in text


def test_cut_off_anywhere_it_does_not_load() -> None:
    for length in range(len(DATA)):
        with pytest.raises(ModelError):
            load(DATA[:length])


@given(st.integers(0, len(DATA) - 1), st.binary(max_size=4), st.integers(0, 4))
def test_damaged_bytes_load_or_are_refused_but_nothing_else_is_raised(
    at: int, put: bytes, dropped: int
) -> None:
    with contextlib.suppress(ModelError):
        load(DATA[:at] + put + DATA[at + dropped :])


@given(st.binary(max_size=64))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ModelError):
        load(data)


@pytest.fixture
def external(tmp_path: Path) -> Path:
    """A model whose weights lie in a file next to it."""
    folder = tmp_path / "in"
    folder.mkdir()
    proto = onnx.ModelProto.FromString(DATA)
    onnx.save(proto, folder / "net.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    return folder / "net.onnx"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_weights_in_another_file_are_found_wherever_the_model_goes(external: Path, tmp_path: Path) -> None:
    before = contents(external.parent)
    loaded = load(external)
    prepared = prepare(loaded.model)
    assert survey(prepared)[0].skipped is None
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "net.onnx"
    with staged(prepared, target) as written:
        publish(written, target, overwrite=False)
    for source in (serialized(loaded.model), serialized(prepared), target.read_bytes()):
        assert_same(run(source, FEED), run(DATA, FEED))
    assert_same(run(load(loaded.model).runnable, FEED), run(DATA, FEED))
    assert contents(external.parent) == before


@pytest.mark.parametrize(
    ("damage", "said"),
    [(lambda f: f.unlink(), "does not exist"), (lambda f: f.write_bytes(f.read_bytes()[:-1]), "cut off")],
)
def test_weights_that_are_not_there(external: Path, damage: Callable[[Path], object], said: str) -> None:
    damage(external.with_name("weights"))
    text = complaint(external)
    assert said in text
    assert str(external) in text
    assert str(external.with_name("weights")) in text


SHUFFLED = {
    "a cast behind all": model(
        "y = Relu(c)  [k] c = Conv<pads = [1,1,1,1]>(b, w)  b = Relu(a)  a = Neg(x)",
        "float[N,4,H,W] x",
        "float[N,4,H,W] y",
        w=normal(4, 4, 3, 3),
    ),
    "a branch before what it reads": model(
        """y = If(yes) <then_branch = t () => (float[N,4,H,W] d) {d = Conv<pads = [1,1,1,1]>(a, w)},
                        else_branch = e () => (float[N,4,H,W] f) {f = Neg(a)}>
           a = Relu(x)""",
        "float[N,4,H,W] x",
        "float[N,4,H,W] y",
        w=normal(4, 4, 3, 3),
        yes=np.array(True),
    ),
}


@pytest.mark.parametrize("proto", SHUFFLED.values(), ids=SHUFFLED.keys())
def test_nodes_out_of_order_are_sorted_as_onnxruntime_does(proto: onnx.ModelProto) -> None:
    before = proto.SerializeToString()
    loaded = load(proto)
    assert any("moved behind it" in note for note in loaded.notes)
    prepared = prepare(loaded.model)
    assert [site.skipped for site in survey(prepared)] == [None]
    assert_same(run(serialized(prepared), FEED), run(before, FEED))
    assert proto.SerializeToString() == before


def test_nodes_in_order_stay_where_they_are() -> None:
    assert load(DATA).notes == ()


def test_nodes_in_a_circle_have_no_order() -> None:
    proto = onnx.ModelProto.FromString(DATA)
    proto.graph.node[0].input[0] = "y"
    assert "read each other in a circle" in complaint(proto)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(
    ("data", "said"), [(POINTER, "git lfs pull"), (b"\x1c\0\0\0ORTM" + b"\0" * 40, r"\.ort")]
)
def test_what_is_no_model_yet_or_no_more_is_named(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(ModelError, match=said):
        load(tmp_path / "model.onnx")


def test_a_producer_may_have_the_name_of_a_format(tmp_path: Path) -> None:
    proto = networks.plain()
    proto.producer_name = "ORTModule"
    data = proto.SerializeToString()
    assert data[4:8] == b"ORTM"
    load(data)


def test_weights_that_are_a_pointer_are_named(tmp_path: Path) -> None:
    onnx.save(
        networks.plain(), tmp_path / "m.onnx", save_as_external_data=True, location="w", size_threshold=0
    )
    (tmp_path / "w").write_bytes(POINTER)
    with pytest.raises(ModelError, match=r"keeps weights in .*w, which is a pointer .*git lfs pull"):
        load(tmp_path / "m.onnx")
