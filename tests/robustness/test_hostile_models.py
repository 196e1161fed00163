"""Models made to break readers, or broken by a bug of an exporter: a sentence, soon, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from tests import networks
from tests.graph.build import model, normal
from tests.robustness.way import attempt

X, Y = "float[N,3,16,16] image", "float[N,C,P,Q] y"
W = normal(4, 3, 3, 3)


def refusal(source: Any, **options: Any) -> str:
    """What is said of it."""
    said = attempt(source, limit=1, **options)
    assert isinstance(said, str), "it was taken"
    return said


def conv(**attributes: object) -> onnx.ModelProto:
    """A convolution with these attributes beside another that is in order."""
    nodes = [
        networks.conv("image", "v", "a", pads=[1] * 4),
        helper.make_node("Conv", ["a", "w"], ["y"], name="odd", **attributes),
    ]
    return networks.network(
        nodes, {"v": networks.kernel(3, 3), "w": W}, {"image": networks.MAP}, {"y": (None,) * 4}
    )


ODD: dict[str, dict[str, object]] = {
    "no groups": {"group": 0},
    "fewer groups": {"group": -1},
    "groups that do not divide": {"group": 2},
    "all the groups": {"group": 2**62},
    "no stride": {"strides": [0, 1]},
    "a stride back": {"strides": [1, -1]},
    "too few strides": {"strides": [1]},
    "too many strides": {"strides": [1, 1, 1]},
    "no dilation": {"dilations": [1, 0]},
    "a huge dilation": {"dilations": [2**40, 1]},
    "a dilation that overflows": {"dilations": [2**63 - 1, 2**63 - 1]},
    "too few pads": {"pads": [1, 1]},
    "three pads": {"pads": [1, 1, 1]},
    "huge pads": {"pads": [2**40] * 4},
    "pads that overflow": {"pads": [2**63 - 1] * 4},
    "pads that leave nothing": {"pads": [-20] * 4},
    "another kernel": {"kernel_shape": [5, 5]},
    "no kernel": {"kernel_shape": [0, 0]},
    "a kernel of one axis": {"kernel_shape": [3]},
    "a padding unheard of": {"auto_pad": "SOME"},
    "a group that is text": {"group": "one"},
    "groups that are many": {"group": [1, 1]},
    "strides that are one": {"strides": 1},
    "strides that are fractions": {"strides": [1.0, 1.5]},
    "pads that are text": {"pads": "SAME"},
    "an auto_pad that is a number": {"auto_pad": 3},
    "an attribute unheard of": {"whirl": 1},
}


@pytest.mark.parametrize("attributes", ODD.values(), ids=ODD.keys())
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_attributes_that_cannot_be(attributes: dict[str, object]) -> None:
    refusal(conv(**attributes))


def changed(change: Callable[[onnx.GraphProto], object]) -> onnx.ModelProto:
    proto = networks.plain()
    change(proto.graph)
    return proto


def _branch_without_graph(graph: onnx.GraphProto) -> None:
    node = helper.make_node("If", ["c"], ["r"])
    node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH)
    graph.node.append(node)


def _rename(message: Any, field: str, value: object) -> None:
    setattr(message, field, value)


GRAPHS: dict[str, Callable[[onnx.GraphProto], object]] = {
    "an input from nowhere": lambda g: g.node[1].input.__setitem__(0, "nowhere"),
    "a weight from nowhere": lambda g: g.node[0].input.__setitem__(1, "nowhere"),
    "no weight": lambda g: g.node[0].input.pop(),
    "no inputs at all": lambda g: g.node[0].ClearField("input"),
    "an empty name for the map": lambda g: g.node[0].input.__setitem__(0, ""),
    "an empty name for the weight": lambda g: g.node[0].input.__setitem__(1, ""),
    "too many inputs": lambda g: g.node[0].input.extend(["w1", "w1"]),
    "no outputs": lambda g: g.node[0].ClearField("output"),
    "an output without a name": lambda g: g.node[0].output.__setitem__(0, ""),
    "two nodes of one output": lambda g: g.node.append(g.node[0]),
    "a node that writes an input": lambda g: g.node[1].output.__setitem__(0, "image"),
    "a node that writes a weight": lambda g: g.node[1].output.__setitem__(0, "w2"),
    "a cycle": lambda g: g.node[0].input.__setitem__(0, "map"),
    "a node that reads itself": lambda g: g.node[1].input.__setitem__(0, "b"),
    "no inputs of the graph": lambda g: g.ClearField("input"),
    "no outputs of the graph": lambda g: g.ClearField("output"),
    "an output from nowhere": lambda g: _rename(g.output[0], "name", "nowhere"),
    "no nodes": lambda g: g.ClearField("node"),
    "two inputs of one name": lambda g: g.input.append(g.input[0]),
    "an operator without a name": lambda g: _rename(g.node[1], "op_type", ""),
    "a domain unheard of": lambda g: _rename(g.node[1], "domain", "acme.example"),
    "an operator long gone": lambda g: _rename(g.node[1], "op_type", "Upsample"),
    "a weight of another rank": lambda g: g.initializer[0].dims.pop(),
    "a weight of no rank": lambda g: g.initializer[0].ClearField("dims"),
    "a weight larger than its bytes": lambda g: g.initializer[0].dims.__setitem__(0, 17),
    "a huge weight": lambda g: g.initializer[0].dims.__setitem__(0, 2**50),
    "a weight of a size that overflows": lambda g: g.initializer[0].dims.extend([2**62] * 2),
    "a weight of a negative size": lambda g: g.initializer[0].dims.__setitem__(0, -1),
    "a weight in the field of another type": lambda g: g.initializer[0].CopyFrom(
        TensorProto(
            name="w1", data_type=TensorProto.FLOAT16, dims=[16, 3, 5, 5], uint64_data=[1] * (16 * 3 * 5 * 5)
        )
    ),
    "an empty weight": lambda g: g.initializer[0].CopyFrom(
        helper.make_tensor("w1", TensorProto.FLOAT, [0, 3, 5, 5], [])
    ),
    "a weight without bytes": lambda g: g.initializer[0].ClearField("raw_data"),
    "a weight of no type": lambda g: _rename(g.initializer[0], "data_type", 0),
    "a weight of a type unheard of": lambda g: _rename(g.initializer[0], "data_type", 99),
    "a weight that is text": lambda g: g.initializer[0].CopyFrom(
        helper.make_tensor("w1", TensorProto.STRING, [2], [b"a", b"b"])
    ),
    "a branch that is not there": _branch_without_graph,
    "an input of no type": lambda g: g.input[0].ClearField("type"),
    "an input that is a list": lambda g: g.input[0].CopyFrom(
        helper.make_tensor_sequence_value_info("image", TensorProto.FLOAT, None)
    ),
    "an input of text": lambda g: _rename(g.input[0].type.tensor_type, "elem_type", TensorProto.STRING),
}  # fmt: skip


@pytest.mark.parametrize("change", GRAPHS.values(), ids=GRAPHS.keys())
def test_graphs_that_cannot_be(change: Callable[[onnx.GraphProto], object], tmp_path: Path) -> None:
    refusal(changed(change))
    (tmp_path / "model.onnx").write_bytes(changed(change).SerializeToString())
    refusal(tmp_path / "model.onnx")


@pytest.mark.parametrize("text", [b"body.first", b"image", b"map", b"Relu", b"batch", b"far.bin"])
def test_names_that_are_no_text(text: bytes, tmp_path: Path) -> None:
    """Protobuf lets them through, as bytes, which break whatever writes the model again."""
    path = tmp_path / "model.onnx"
    onnx.save(networks.plain(), path, save_as_external_data=True, location="far.bin", size_threshold=0)
    path.write_bytes(path.read_bytes().replace(text, b"\xbb" * len(text)))
    assert "no text" in refusal(path)


def test_weights_of_one_name_are_one() -> None:
    """As onnxruntime has it."""
    assert not isinstance(attempt(changed(lambda g: g.initializer.append(g.initializer[0])), limit=1), str)


def test_a_convolution_of_a_constant_is_left_alone() -> None:
    constant = networks.network(
        [
            networks.conv("u", "w", "a", pads=[2] * 4),
            networks.conv("image", "w", "b", pads=[2] * 4),
            helper.make_node("Add", ["a", "b"], ["map"]),
        ],
        {"u": networks.images(1), "w": networks.kernel(16, 3, 5, separable=True)},
        {"image": networks.MAP},
        {"map": ("batch", 16, 16, 16)},
    )
    result = attempt(constant, data={"image": networks.images(4)})
    assert not isinstance(result, str)
    assert [layer.replaced for layer in result.report.layers] == [False, True]


@pytest.mark.parametrize("sizes", [(2**20, 2**20), (2**31, 2**31), (2**62, 2**62)])
def test_an_input_too_large_to_make_up(sizes: tuple[int, int]) -> None:
    proto = model("y = Conv(image, w)", f"float[1,3,{sizes[0]},{sizes[1]}] image", Y, w=W)
    refusal(proto)


@pytest.mark.parametrize("shape", [(1, 3, 2**20, 2**20), (2**40, 3, 16, 16)])
def test_a_shape_too_large_to_make_up(shape: tuple[int, ...]) -> None:
    proto = model("y = Conv(image, w)", "float[N,3,H,W] image", Y, w=W)
    assert "too many to make up" in refusal(proto, input_shape={"image": shape})


def test_a_subgraph_within_a_subgraph_and_so_on() -> None:
    inner = helper.make_graph([helper.make_node("Relu", ["a"], ["r"])], "g", [], [_value("r")])
    for _ in range(15):
        branch = helper.make_node("If", ["c"], ["r"], then_branch=inner)
        inner = helper.make_graph([branch], "g", [], [_value("r")])
    refusal(changed(lambda g: g.node.append(helper.make_node("If", ["c"], ["r"], then_branch=inner))))


def _value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


class TestExternalData:
    """Weights may lie only where the model lies: whoever writes a model must not choose what else is read."""

    @pytest.fixture
    def far(self, tmp_path: Path) -> Path:
        """A model, its weights beside it, and a file of the same bytes elsewhere."""
        folder = tmp_path / "in"
        folder.mkdir()
        onnx.save(
            networks.plain(), folder / "far.onnx", save_as_external_data=True, location="w", size_threshold=0
        )
        (tmp_path / "secret").write_bytes((folder / "w").read_bytes())
        (tmp_path / "innocent").mkdir()
        return folder / "far.onnx"

    @staticmethod
    def point(path: Path, **entries: object) -> Path:
        """Change where the weights are said to be."""
        proto = onnx.load(path, load_external_data=False)
        for tensor in proto.graph.initializer:
            said = {entry.key: entry.value for entry in tensor.external_data} | entries
            del tensor.external_data[:]
            for key, value in said.items():
                tensor.external_data.add(key=key, value=str(value))
        path.write_bytes(proto.SerializeToString())
        return path

    def test_beside_the_model_it_is_read(self, far: Path) -> None:
        for _ in range(2):
            assert not isinstance(attempt(far, limit=1, max_error=0), str)
            self.point(far, location="./w")

    @pytest.mark.parametrize(
        "location", ["../secret", "./../secret", "x/../../secret", "../in/../secret", "{}/secret"]
    )
    def test_out_of_the_folder(self, location: str, far: Path, tmp_path: Path) -> None:
        said = refusal(self.point(far, location=location.format(tmp_path)))
        assert "secret" in said
        assert "out of its folder" in said

    def test_a_link_out_of_the_folder(self, far: Path, tmp_path: Path) -> None:
        far.with_name("link").symlink_to(tmp_path / "secret")
        assert "link" in refusal(self.point(far, location="link"))
        far.with_name("around").symlink_to(tmp_path, target_is_directory=True)
        assert "out of its folder" in refusal(self.point(far, location="around/secret"))

    def test_a_file_of_two_names(self, far: Path, tmp_path: Path) -> None:
        far.with_name("also").hardlink_to(tmp_path / "secret")
        said = refusal(self.point(far, location="also"))
        assert "hard link" in said
        assert "copy" in said

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
    def test_what_is_no_file(self, far: Path) -> None:
        os.mkfifo(far.with_name("pipe"))
        for name in ("pipe", ".", "", "missing", "w/below", "n" * 300, "zero\0byte"):
            refusal(self.point(far, location=name))

    @pytest.mark.parametrize(
        "entries",
        [
            {"offset": -8}, {"offset": 2**40}, {"offset": 2**70}, {"offset": "x"}, {"offset": 1.5},
            {"length": -1}, {"length": 1}, {"length": 2**62}, {"length": "x"},
            {"offset": 2**63, "length": 2**63},
        ],
        ids=str,
    )  # fmt: skip
    def test_a_piece_that_cannot_be(self, entries: dict[str, object], far: Path) -> None:
        refusal(self.point(far, **entries))

    @pytest.mark.parametrize("kind", [0, TensorProto.STRING, 99])
    def test_weights_of_no_type(self, kind: int, far: Path) -> None:
        proto = onnx.load(far, load_external_data=False)
        proto.graph.initializer[0].data_type = kind
        far.write_bytes(proto.SerializeToString())
        refusal(far)

    def test_a_constant_or_a_subgraph_that_leads_out(self, far: Path, tmp_path: Path) -> None:
        proto = onnx.load(far)
        tensor = helper.make_tensor("t", TensorProto.FLOAT, [2], [1, 2])
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "../secret"), ("length", "8")):
            tensor.external_data.add(key=key, value=value)
        branch = helper.make_graph(
            [helper.make_node("Identity", ["t"], ["i"])], "b", [], [_value("i")], [tensor]
        )
        for node in (
            helper.make_node("Constant", [], ["t"], value=tensor),
            helper.make_node("If", ["c"], ["r"], then_branch=branch, else_branch=branch),
        ):
            other = onnx.ModelProto.FromString(proto.SerializeToString())
            other.graph.node.append(node)
            path = far.with_name("other.onnx")
            path.write_bytes(other.SerializeToString())
            assert "out of its folder" in refusal(path)

    def test_bytes_have_no_folder(self, far: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(far.parent)
        for source in (far.read_bytes(), onnx.load(far, load_external_data=False)):
            assert "other files" in refusal(source)

    def test_a_graph_of_another_reader(self, far: Path, tmp_path: Path) -> None:
        assert not isinstance(attempt(ir.load(far), limit=1, max_error=0), str)
        assert "out of its folder" in refusal(ir.load(self.point(far, location="../secret")))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_model_that_never_ends(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (tmp_path / "pipe.onnx", Path("/dev/zero"), Path("/dev/null")):
        assert "not a regular file" in refusal(path)


def test_a_name_that_cannot_be(tmp_path: Path) -> None:
    refusal(str(tmp_path / "a\0b.onnx"))


def test_a_file_too_large_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as stream:
        stream.truncate(3 * 2**30)  # of holes; it takes no room
    assert "2 GB" in refusal(path)


def test_names_with_anything_in_them(tmp_path: Path) -> None:
    """Names are data: they are neither paths nor patterns nor markup."""
    for name in ("../../x", "a/b c", "[red]", "%s {0}", "ä\n\t", "*", "n" * 5000, "/sep/0.weight"):
        proto = changed(lambda g, name=name: _rename(g.node[0], "name", name))
        result = attempt(proto, tmp_path / "out.onnx", limit=1, max_error=0, overwrite=True)
        assert not isinstance(result, str), result
        assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]
        onnx.checker.check_model(tmp_path / "out.onnx", full_check=True)
    assert np.isfinite(result.report.totals.macs_after)


BODY = "<body = b (int64 i, bool c, float[3] f) => (bool d, float[3] g) { d = Identity(c)  g = Relu(f) }>"
ENDLESS = {
    "a loop": f"l = Loop(huge, yes, ones) {BODY}  s = ReduceMax<keepdims = 0>(l)",
    "a loop within a branch": f"""s = If(yes) <
        then_branch = t () => (float e) {{
          l = Loop(huge, yes, ones) {BODY}  e = ReduceMax<keepdims = 0>(l) }},
        else_branch = u () => (float k) {{ k = ReduceMax<keepdims = 0>(ones) }}>""",
    "a huge range": "r = Range(nought, huge, one)  f = Cast<to = 1>(r)  s = ReduceMax<keepdims = 0>(f)",
    "a huge constant": """h = Concat<axis = 0>(huge1, huge1)  f = ConstantOfShape(h)
        s = ReduceMax<keepdims = 0>(f)""",
    "a huge tile": "h = Concat<axis = 0>(huge1)  f = Tile(ones, h)  s = ReduceMax<keepdims = 0>(f)",
}


@pytest.mark.parametrize("body", ENDLESS.values(), ids=ENDLESS.keys())
def test_what_never_ends_or_never_fits(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEPFACTOR_RUN_SECONDS", "0.2")
    huge, yes = np.array(2**40), np.array(True)
    numbers = {"huge": huge, "huge1": huge[None], "nought": np.array(0), "one": np.array(1), "yes": yes}
    used = {name: array for name, array in numbers.items() if name in body}
    ones = {"ones": np.ones(3, np.float32)} if "ones" in body else {}
    proto = model(f"a = Conv(image, w)  {body}  y = Add(a, s)", X, Y, w=W, **used, **ones)
    refusal(proto)
