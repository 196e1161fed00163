"""How large a map is, also behind operators that onnx infers no shape for any more (Crop, ImageScaler)."""

from __future__ import annotations

import onnx_ir as ir

from sepfactor.graph.consumers import ACTIVATIONS
from sepfactor.graph.rewrites.inferred import Inferred
from sepfactor.graph.rewrites.read import constant, is_op

_SAME = (
    *("Identity", "Dropout", "BatchNormalization", "InstanceNormalization", "ImageScaler", "Affine"),
    *("Cast", "Neg", "Abs", "Exp", "Sqrt", *sorted(ACTIVATIONS)),
)
_OF_ANY = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum")
"""Maps of one size, or numbers per channel, which are of size one."""

Size = tuple[int, int]


def size_of(value: ir.Value | None) -> Size | None:
    """Height and width of ``(N, C, H, W)``, where both are known."""
    return _Sizes().of(value)


class _Sizes(Inferred[Size]):
    def declared(self, value: ir.Value) -> Size | None:
        if value.shape is not None and (len(value.shape) == 4 or value.const_value is not None):
            height, width = [1, 1, *value.shape][-2:]
            if isinstance(height, int) and isinstance(width, int):
                return height, width
        return None

    def made(self, node: ir.Node) -> Size | None:
        if is_op(node, *_OF_ANY):
            found = [self.of(read) for read in node.inputs]
            known = [size for size in found if size is not None]
            return None if len(known) < len(found) else (max(s[0] for s in known), max(s[1] for s in known))
        size = self.of(node.inputs[0])
        if size is None or is_op(node, *_SAME):
            return size
        if is_op(node, "Crop") and "scale" not in node.attributes:
            left, top, right, bottom = node.attributes.get_ints("border", (0,) * 4)
            return size[0] - top - bottom, size[1] - left - right
        if is_op(node, "Pad"):
            return _padded(node, size)
        return _answered(node, size) if is_op(node, "Conv", "ConvTranspose") else None


def _padded(node: ir.Node, size: Size) -> Size | None:
    pads = node.attributes.get_ints("pads", ()) or node.attributes.get_ints("paddings", ())
    if not pads and len(node.inputs) > 1 and (given := constant(node.inputs[1])) is not None:
        pads = given.reshape(-1).tolist()
    if len(pads) != 8:
        return None
    return size[0] + int(pads[2]) + int(pads[6]), size[1] + int(pads[3]) + int(pads[7])


def _answered(node: ir.Node, size: Size) -> Size | None:
    weight, given = node.inputs[1], node.attributes
    auto = given.get_string("auto_pad", "NOTSET")
    if len(said := given.get_ints("output_shape", ())) >= 2:
        return said[-2], said[-1]
    if weight is None or weight.shape is None or auto not in ("NOTSET", "VALID"):
        return None
    pads = (0,) * 4 if auto == "VALID" else tuple(given.get_ints("pads", (0,) * 4))
    strides, dilations = (tuple(given.get_ints(name, (1, 1))) for name in ("strides", "dilations"))
    more = tuple(given.get_ints("output_padding", (0, 0)))
    kernel = [k for k in list(weight.shape)[2:] if isinstance(k, int)]
    if not all(len(each) == n for each, n in ((pads, 4), (strides, 2), (dilations, 2), (kernel, 2))):
        return None
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    both = [pads[axis] + pads[axis + 2] for axis in (0, 1)]
    if node.op_type == "Conv":
        height, width = ((size[i] + both[i] - reach[i]) // strides[i] + 1 for i in (0, 1))
    else:
        height, width = ((size[i] - 1) * strides[i] + reach[i] - both[i] + more[i] for i in (0, 1))
    return height, width
