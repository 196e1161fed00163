"""Every convolution is listed, with a stage that computes it or with the reason why not."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.factor import Stage
from sepfactor.graph.prepare import prepare
from sepfactor.graph.survey import Site, survey
from sepfactor.graph.writer import conv_attributes
from tests.graph.build import assert_same, model, normal, run, with_weights_as_inputs

X = "float[N,4,H,W] x"
Y = "float[N,C,P,Q] y"


def sites(proto: onnx.ModelProto) -> list[Site]:
    return survey(prepare(ir.from_proto(proto)))


def only(body: str, inputs: str = X, **weights: object) -> Site:
    (site,) = sites(model(body, inputs, "float[N,C,P] y" if "float[N,4,L]" in inputs else Y, **weights))
    return site


def test_every_convolution_in_order_with_its_numbers() -> None:
    w, v, c = normal(6, 4, 3, 2), normal(6, 3, 1, 1), normal(6)
    first, second, transposed, third = sites(
        model(
            """[first] a = Conv<strides = [1,2], dilations = [2,1], pads = [1,0,2,3]>(x, w, c)
               r = Relu(a)
               second_out = Conv<group = 2>(r, v)
               t = ConvTranspose(second_out, w)
               [third] y = Conv(t, u)""",
            X,
            Y,
            w=w,
            v=v,
            c=c,
            u=normal(2, 4, 1, 1, dtype=np.float32),
        )
    )
    assert (first.name, first.input, first.output) == ("first", "x", "a")
    assert (second.name, second.input, second.output) == ("second_out", "r", "second_out")
    assert (third.name, third.input, third.output) == ("third", "t", "y")
    assert first.stage is not None
    assert second.stage is not None
    stage = first.stage
    assert (stage.strides, stage.pads, stage.dilations, stage.group) == ((1, 2), ((1, 2), (0, 3)), (2, 1), 1)
    np.testing.assert_array_equal(stage.weight, w.astype(np.float64))
    np.testing.assert_array_equal(first.bias, c.astype(np.float64))
    assert second.stage.group == 2
    assert second.bias is None
    assert [s.weight_shape for s in (first, second, third)] == [(6, 4, 3, 2), (6, 3, 1, 1), (2, 4, 1, 1)]
    assert not any(s.skipped or s.broken for s in (first, second, third))
    assert (transposed.name, transposed.weight_shape) == ("t", (4, 6, 3, 2))
    assert (transposed.skipped, transposed.kind) == (None, third.kind)


@pytest.mark.parametrize(
    ("kind", "dtype"), [("float", np.float32), ("float16", np.float16), ("double", np.float64)]
)
def test_types(kind: str, dtype: type) -> None:
    site = only("y = Conv(x, w)", f"{kind}[N,4,H,W] x", w=normal(4, 4, 3, 3, dtype=dtype))
    assert site.skipped is None
    assert site.dtype == dtype
    assert site.stage is not None
    assert site.stage.weight.dtype == np.float64


HOLED = normal(4, 4, 3, 3).copy()
HOLED[0, 0, 0, :2] = np.nan, np.inf

SKIPPED = {
    "strides of another axis": (
        lambda: only("y = Conv<strides = [1,2]>(x, w)", "float[N,4,L] x", w=normal(4, 4, 3)),
        "not a valid Conv",
    ),
    "4-D": (
        lambda: only("y = Conv(x, w)", "float[N,4,T,D,H,W] x", w=normal(4, 4, 3, 3, 3, 3)),
        "a 4-D convolution",
    ),
    "fed": (lambda: only("y = Conv(x, w)", f"{X}, float[4,4,3,3] w"), "weight is not a constant: it is fed"),
    "computed": (
        lambda: only("v = RandomNormalLike(w)  y = Conv(x, v)", w=normal(4, 4, 3, 3)),
        "weight is not a constant: it is computed by RandomNormalLike",
    ),
    "bias computed": (
        lambda: only("v = RandomNormalLike(c)  y = Conv(x, w, v)", w=normal(4, 4, 3, 3), c=normal(4)),
        "bias is not a constant: it is computed by RandomNormalLike",
    ),
    "not finite": (lambda: only("y = Conv(x, w)", w=HOLED), "weight holds 2 NaN or infinite values"),
    "of a constant": (
        lambda: only("y = Conv(u, w)", w=normal(4, 4, 3, 3), u=normal(1, 4, 9, 9)),
        "it reads a constant",
    ),
    "a signalling NaN": (
        lambda: only("y = Conv(x, w)", w=np.full((4, 4, 3, 3), 0x7F800001, np.uint32).view(np.float32)),
        "weight holds 144 NaN or infinite values",
    ),
    "enormous": (
        lambda: only("y = Conv(x, w)", w=np.full((4, 4, 3, 3), 3e38, np.float32)),
        "weight holds numbers too large to fit anything to (up to 3e+38)",
    ),
    "strides of nothing": (
        lambda: only("y = Conv<strides = [0,1]>(x, w)", w=normal(4, 4, 3, 3)),
        "not a valid Conv (group 1, strides (0, 1)",
    ),
    "strides of another rank": (
        lambda: only("y = Conv<strides = [1]>(x, w)", w=normal(4, 4, 3, 3)),
        "not a valid Conv",
    ),
    "groups that are text": (
        lambda: only('y = Conv<group = "one">(x, w)', w=normal(4, 4, 3, 3)),
        "not a valid Conv",
    ),
    "another kernel": (
        lambda: only("y = Conv<kernel_shape = [5,5]>(x, w)", w=normal(4, 4, 3, 3)),
        "its kernel_shape is not that of its weight",
    ),
    "bias not finite": (
        lambda: only("y = Conv(x, w, c)", w=normal(4, 4, 3, 3), c=np.float32([1, 2, np.nan, 4])),
        "bias holds 1 NaN or infinite value",
    ),
    "integers": (
        lambda: only("y = Conv(x, w)", "int32[N,4,H,W] x", w=np.ones((4, 4, 3, 3), np.int32)),
        "weight is of type int32",
    ),
    "negative pads": (
        lambda: only("y = Conv<pads = [-1,0,0,0]>(x, w)", w=normal(4, 4, 3, 3)),
        "negative pads",
    ),
    "groups": (
        lambda: only("y = Conv<group = 3>(x, w)", w=normal(4, 4, 3, 3)),
        "do not divide into its groups (4 into 3)",
    ),
    "open map": (
        lambda: only('y = Conv<auto_pad = "SAME_UPPER", strides = [2,1]>(x, w)', w=normal(4, 4, 3, 3)),
        "(SAME_UPPER at stride 2×1)",
    ),
}


@pytest.mark.parametrize(("make", "said"), SKIPPED.values(), ids=SKIPPED.keys())
def test_what_is_skipped_says_why(make: object, said: str) -> None:
    site = make()
    assert said in str(site.skipped)
    assert len(str(site.skipped).split()) >= 3
    assert site.stage is None
    assert site.output == "y"
    assert site.broken == ("NaN" in said)


def test_one_axis_is_read_as_a_row() -> None:
    body = "y = Conv<strides = [2], dilations = [3], pads = [1,4], group = 2>(x, w, c)"
    weight = normal(6, 2, 5)
    site = only(body, "float[N,4,L] x", w=weight, c=normal(6))
    stage = site.stage
    assert stage is not None
    assert (stage.strides, stage.pads, stage.dilations) == ((1, 2), ((0, 0), (1, 4)), (1, 3))
    assert (stage.group, site.weight_shape) == (2, (6, 2, 5))
    np.testing.assert_array_equal(stage.weight, weight.astype(np.float64)[:, :, None])
    np.testing.assert_array_equal(site.bias, normal(6).astype(np.float64))


def test_weights_that_are_inputs_with_a_default_are_constants_once_prepared() -> None:
    proto = with_weights_as_inputs(model("y = Conv(x, w, c)", X, Y, w=normal(4, 4, 3, 3), c=normal(4)))
    (raw,) = survey(ir.from_proto(proto))
    assert raw.skipped is not None
    assert "fed at run time" in str(raw.skipped)
    assert raw.weight_shape == (4, 4, 3, 3)
    (site,) = sites(proto)
    assert site.skipped is None


def test_inside_bodies_and_functions() -> None:
    body = """[main] z = Conv(x, w)
       m = If (q) <then_branch = t () => (float[N,4,H,W] ty) { [inner] ty = Conv(z, w) },
                   else_branch = e () => (float[N,4,H,W] ey) { ey = Relu(z) }>"""
    main, inner, last = sites(
        model(f"{body}  [last] y = Conv(m, w)", f"{X}, bool q", Y, w=normal(4, 4, 1, 1))
    )
    assert (main.name, main.skipped, main.nested) == ("main", None, False)
    assert (inner.name, inner.skipped, inner.nested) == ("inner", None, True)
    assert last.name == "last"  # in the order they run in
    local = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "local": 1]>
           g (float[N,4,H,W] x, float[4,4,1,1] w) => (float[N,4,H,W] y) { y = local.f(x, w) }
           <domain: "local", opset_import: ["": 17]> f (x, w) => (y) { [k] y = Conv(x, w) }"""
    )
    (site,) = sites(local)
    assert (site.name, str(site.skipped)) == ("k", "inside a model-local function")


def test_only_the_standard_convolution_counts() -> None:
    proto = model("y = Conv(x, w)", X, Y, w=normal(4, 4, 3, 3))
    proto.graph.node[0].domain = "com.example"
    proto.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    assert survey(ir.from_proto(proto)) == []


KERNELS = st.tuples(st.integers(1, 5), st.integers(1, 5))


def stage_of_auto_pad(
    auto: str, weight: np.ndarray, dilations: tuple[int, int]
) -> tuple[Stage, onnx.ModelProto]:
    given_ = f'auto_pad = "{auto}", dilations = [{dilations[0]}, {dilations[1]}]'
    proto = model(f"y = Conv<{given_}>(x, w)", "float[N,2,H,W] x", "float[N,3,P,Q] y", w=weight)
    (site,) = sites(proto)
    assert site.skipped is None
    assert site.stage is not None
    return site.stage, proto


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@given(KERNELS)
def test_auto_pad_at_stride_1_needs_no_size(auto: str, kernel: tuple[int, int]) -> None:
    weight, x = normal(3, 2, *kernel), {"x": normal(1, 2, 9, 8)}
    stage, proto = stage_of_auto_pad(auto, weight, (1, 1))
    explicit = model("y = Conv(x, w)", "float[N,2,H,W] x", "float[N,3,P,Q] y", w=weight)
    explicit.graph.node[0].attribute.extend(
        onnx.helper.make_attribute(name, value) for name, value in conv_attributes(stage).items()
    )
    assert_same(run(explicit, x), run(proto, x))


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@given(KERNELS, st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_auto_pad_of_a_dilated_kernel(auto: str, kernel: tuple[int, int], dilations: tuple[int, int]) -> None:
    """No runtime here runs this, so by the words of the standard: the map keeps its size."""
    stage, _ = stage_of_auto_pad(auto, normal(3, 2, *kernel), dilations)
    if auto == "VALID":
        assert stage.pads == ((0, 0), (0, 0))
        return
    assert stage.output_size((14, 13)) == (14, 13)
    for begin, end in stage.pads:
        assert (end if auto == "SAME_UPPER" else begin) - min(begin, end) == abs(end - begin) <= 1
