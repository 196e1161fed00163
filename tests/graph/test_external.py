"""Large tensors stay in their files, and every view of a model finds them there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import sepfactor
from sepfactor.errors import ModelError, OptionError
from sepfactor.graph.external import LARGE, external_tensors, in_one_folder, read_external
from sepfactor.graph.instrument import serialized, with_node_names, with_outputs
from sepfactor.graph.load import load
from sepfactor.graph.partition import Partition
from sepfactor.graph.prepare import prepare
from sepfactor.graph.save import publish, staged
from sepfactor.graph.survey import survey
from sepfactor.measure import OnnxRuntime
from tests.graph.build import assert_same, model, normal, run

WIDE = LARGE // 4
FEED = {"x": normal(1, 4, 6, 7), "i": np.array([3, WIDE - 1])}
PROTO = model(
    "g = Gather(table, i)  s = ReduceSum<keepdims = 0>(g)  a = Conv<pads = [1,1,1,1]>(x, w)  y = Mul(a, s)",
    "float[N,4,H,W] x, int64[2] i",
    "float[N,4,H,W] y",
    w=normal(4, 4, 3, 3),
    table=normal(WIDE),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Both tensors in files, one of which is large."""
    proto = onnx.ModelProto.FromString(PROTO.SerializeToString())
    onnx.save(proto, tmp_path / "net.onnx", save_as_external_data=True, location="far", size_threshold=0)
    return tmp_path / "net.onnx"


def names(source: ir.Model) -> set[str]:
    return {tensor.name or "" for tensor in external_tensors(source)}


def answers(source: bytes | Path) -> list[np.ndarray]:
    return OnnxRuntime().open(source).run(FEED)


def test_every_view_runs_with_the_table_in_its_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    loaded = load(path).model
    assert names(loaded) == {"w", "table"}
    prepared = prepare(loaded)
    assert names(prepared) == {"table"}
    expected = run(PROTO, FEED)
    for view in (serialized(loaded), serialized(prepared), with_node_names(prepared)):
        assert len(view) < WIDE
        assert view.folder == path.parent
        assert_same(answers(view), expected)
    assert_same(answers(with_outputs(prepared, ["y"])), expected)
    stretch = Partition(prepared).segment(0, len(prepared.graph))
    assert_same(answers(stretch.model(FEED)), expected)
    assert names(loaded) == {"w", "table"}


def test_tensors_of_two_folders_are_read(path: Path, tmp_path: Path) -> None:
    loaded = load(path).model
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "far").write_bytes((tmp_path / "far").read_bytes())
    values = loaded.graph.initializers
    values["more"] = ir.val("more", const_value=ir.external_data.convert_tensors_to_external(
        [ir.tensor(normal(WIDE, seed=1), name="more")], tmp_path / "elsewhere", "more"
    )[0])  # fmt: skip
    whole, folder = in_one_folder(loaded)
    assert folder is None
    assert names(whole) == set()
    assert names(loaded) == {"w", "table", "more"}
    assert_same(answers(serialized(loaded)), run(PROTO, FEED))


def test_read_as_asked(path: Path) -> None:
    loaded = load(path).model
    read_external(loaded, below=10)
    assert names(loaded) == {"w", "table"}
    read_external(loaded)
    assert names(loaded) == set()


@pytest.mark.parametrize("name", ["out.onnx.data", "out.onnx.data2"])
def test_the_data_beside_an_output_may_be_no_input(name: str, path: Path) -> None:
    (path.parent / "far").rename(path.parent / name)
    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        tensor.external_data[0].value = name
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(OptionError, match="is an input itself"):
        sepfactor.compress(path, path.parent / "out.onnx", overwrite=True)


class TestLinks:
    """As a hub lays them out: names in one folder, files of other names side by side in another."""

    @staticmethod
    def laid_out(folder: Path, data_in: str) -> Path:
        proto = model(
            "a = Conv<pads = [1,1,1,1]>(x, w)  y = Relu(a)",
            "float[N,4,H,W] x",
            "float[N,4,H,W] y",
            w=normal(4, 4, 3, 3),
        )
        onnx.save(
            proto, folder / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0
        )
        names = folder / "snapshots" / "abc"
        for place in (names, folder / "blobs", folder / data_in):
            place.mkdir(parents=True, exist_ok=True)
        (folder / "net.onnx").rename(folder / "blobs" / "1f0e")
        (folder / "net.data").rename(folder / data_in / "77aa")
        (names / "net.onnx").symlink_to(Path("..", "..", "blobs", "1f0e"))
        (names / "net.data").symlink_to(Path("..", "..", data_in, "77aa"))
        return names / "net.onnx"

    @pytest.mark.parametrize("data_in", ["blobs", "blobs/deeper"])
    def test_beside_the_model_they_are_followed(self, tmp_path: Path, data_in: str) -> None:
        path = self.laid_out(tmp_path, data_in)
        loaded = load(path)
        (site,) = survey(prepare(loaded.model))
        assert site.stage is not None
        np.testing.assert_array_equal(site.stage.weight, normal(4, 4, 3, 3))
        with staged(loaded.model, tmp_path / "out.onnx") as staged_at:
            publish(staged_at, tmp_path / "out.onnx", overwrite=False)
        feed = {"x": FEED["x"]}
        found, expected = (OnnxRuntime().open(p).run(feed) for p in (tmp_path / "out.onnx", path))
        assert_same(found, expected)
        assert (tmp_path / data_in / "77aa").exists()

    def test_to_anywhere_else_they_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="leads out of its folder"):
            load(self.laid_out(tmp_path, "elsewhere"))

    def test_of_a_model_that_is_no_link_they_are_refused(self, tmp_path: Path) -> None:
        path = self.laid_out(tmp_path, "blobs")
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
        with pytest.raises(ModelError, match="leads out of its folder"):
            load(path)
