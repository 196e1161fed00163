"""Write a classical feature extractor as a network: `models/fixed_filters.onnx`.

Nothing is trained. Gaussian blurs, Sobel edges, differences of Gaussians in opponent colours,
divisive normalisation and a blur-pool: filters that image code has always used, written as the
convolutions that frameworks make of them. Each of the larger ones is exactly separable, so that a
factorisation of this network has to be lossless up to rounding. Torch is not needed.

The two outputs: `edges`, the gradient magnitude of blurred luma; `features`, the responses to
4 colours x 3 bands x 2 signs, normalised and pooled to half the size.
"""

from __future__ import annotations

import numpy as np
import onnx
from common import OPSET, photo, quantise, run_model, save_arrays, save_model
from onnx import TensorProto, helper, numpy_helper

NAME = "fixed_filters"
SEED = 11
COLOURS = np.array(  # rows: luma, red-green, blue-yellow, red-blue
    [[0.299, 0.587, 0.114], [1, -1, 0], [-0.5, -0.5, 1], [0.5, 0, -0.5]]
)
SIGMAS = (0.7, 1.1, 1.7, 2.4)
BANDS = len(SIGMAS) - 1
FEATURES = len(COLOURS) * BANDS * 2
CALIBRATION_PHOTOS = ("astronaut.png", "rocket.jpg")
EVALUATION_PHOTOS = ("chelsea.png", "coffee.png")


class Builder:
    """Collects nodes and initialisers; each node is named after what it is for."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, values: np.ndarray) -> str:
        """An initialiser in float32."""
        tensor = numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float32), name)
        self.initializers.append(tensor)
        return name

    def node(
        self, op_type: str, name: str, *inputs: str, output: str = "", **attributes: int | list[int]
    ) -> str:
        """Add a node and return the name of its output."""
        output = output or f"{name}.out"
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=name, **attributes))
        return output

    def conv(
        self,
        name: str,
        value: str,
        weight: np.ndarray,
        stride: int = 1,
        group: int = 1,
        output: str = "",
    ) -> str:
        """A convolution that keeps the size (but for `stride`); weight: (out, in/group, kh, kw)."""
        height, width = weight.shape[2:]
        margins = [height // 2, width // 2]
        return self.node(
            "Conv",
            name,
            value,
            self.constant(f"{name}.weight", weight),
            output=output,
            kernel_shape=[height, width],
            strides=[stride, stride],
            pads=margins + margins,
            group=group,
        )


def gaussian(size: int, sigma: float) -> np.ndarray:
    """A Gaussian of sum 1: (size,)."""
    weights = np.exp(-0.5 * np.square((np.arange(size) - size // 2) / sigma))
    return weights / weights.sum()


def binomial(size: int) -> np.ndarray:
    """A row of Pascal's triangle, of sum 1: (size,)."""
    row = np.ones(1)
    for _ in range(size - 1):
        row = np.convolve(row, [0.5, 0.5])
    return row


def depthwise(row: np.ndarray, channels: int) -> np.ndarray:
    """The same separable blur for every channel: (channels, 1, size, size)."""
    return np.tile(np.outer(row, row), (channels, 1, 1, 1))


def dense(mix: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """A channel mix (out, in) times one kernel (kh, kw): (out, in, kh, kw)."""
    return mix[:, :, None, None] * kernel


def scale_space_bank() -> np.ndarray:
    """Each opponent colour, blurred by each sigma, colours outermost: (16, 3, 11, 11)."""
    rows = [gaussian(11, sigma) for sigma in SIGMAS]
    blurs = [np.outer(row, row) for row in rows]
    return np.concatenate([dense(mix[None], blur) for mix in COLOURS for blur in blurs])


def band_mix() -> np.ndarray:
    """Differences of neighbouring scales, on and off: (24, 16), for a 3x3 whose middle it fills."""
    difference = np.eye(BANDS, BANDS + 1) - np.eye(BANDS, BANDS + 1, k=1)
    return np.kron(np.eye(len(COLOURS)), np.concatenate([difference, -difference])) * 4


def neighbourhood_mix() -> np.ndarray:
    """The mean over one colour's bands and signs, for every channel: (24, 24), of rank 4."""
    members = 2 * BANDS
    return np.kron(np.eye(len(COLOURS)), np.full((members, members), 1 / members))


def middle_tap() -> np.ndarray:
    """A 3x3 kernel that does nothing: (3, 3)."""
    kernel = np.zeros((3, 3))
    kernel[1, 1] = 1
    return kernel


def add_edges(net: Builder, image: str) -> None:
    """Blur, luma, Sobel in both directions, magnitude."""
    smooth = net.conv("smooth.blur9", image, depthwise(gaussian(9, 1.5), 3), group=3)
    luma = net.conv("smooth.luma", smooth, COLOURS[:1, :, None, None])
    sobel_x = np.outer([1, 2, 1], [-1, 0, 1]) / 4
    gradients = {"x": sobel_x, "y": sobel_x.T}
    squares = []
    for axis, kernel in gradients.items():
        slope = net.conv(f"edge.sobel_{axis}", luma, kernel[None, None])
        squares.append(net.node("Mul", f"edge.square_{axis}", slope, slope))
    energy = net.node("Add", "edge.energy", *squares)
    floor = net.constant("edge.epsilon", np.array(1e-6))
    net.node("Sqrt", "edge.root", net.node("Add", "edge.floor", energy, floor), output="edges")


def add_features(net: Builder, image: str) -> None:
    """Opponent scale space, bands, divisive normalisation, blur-pool."""
    bank = net.conv("scale_space.bank", image, scale_space_bank())
    bands = net.conv("bands.difference", bank, dense(band_mix(), middle_tap()))
    cells = net.node("Relu", "bands.rectify", bands)
    blur = np.outer(binomial(3), binomial(3))
    around = net.conv("normalise.neighbourhood", cells, dense(neighbourhood_mix(), blur))
    constant = net.constant("normalise.saturation", np.array(0.1))
    divisor = net.node("Add", "normalise.saturate", around, constant)
    normalised = net.node("Div", "normalise.divide", cells, divisor)
    weight = depthwise(binomial(5), FEATURES)
    net.conv("pool.blurpool", normalised, weight, 2, FEATURES, output="features")


def build() -> onnx.ModelProto:
    """The whole network."""
    net = Builder()
    add_edges(net, "image")
    add_features(net, "image")
    tensor = helper.make_tensor_value_info
    half: list[str | int | None] = ["batch", FEATURES, "features_height", "features_width"]
    graph = helper.make_graph(
        net.nodes,
        NAME,
        [tensor("image", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [
            tensor("edges", TensorProto.FLOAT, ["batch", 1, "height", "width"]),
            tensor("features", TensorProto.FLOAT, half),
        ],
        net.initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


def crops(names: tuple[str, ...], seed: int, count: int = 8, size: int = 96) -> np.ndarray:
    """Colour crops of the photographs in turn: (count, 3, size, size) in [0, 1]."""
    rng = np.random.default_rng(seed)
    photos = [np.asarray(photo(name, "RGB"), dtype=np.float32) / 255 for name in names]
    chosen = []
    for index in range(count):
        picture = photos[index % len(photos)]
        top, left = (int(rng.integers(extent - size + 1)) for extent in picture.shape[:2])
        chosen.append(picture[top : top + size, left : left + size].transpose(2, 0, 1))
    return quantise(np.stack(chosen))


def main() -> None:
    """Write the network and its data files, and run it once."""
    path = save_model(NAME, build())
    save_arrays("fixed_filters_calibration", {"image": crops(CALIBRATION_PHOTOS, SEED)})
    images = crops(EVALUATION_PHOTOS, SEED + 1)
    save_arrays("fixed_filters_evaluation", {"image": images})
    for name, values in zip(("edges", "features"), run_model(path, {"image": images}), strict=True):
        print(f"{name}: {list(values.shape)}, mean {values.mean():.4f}, largest {values.max():.3f}")


if __name__ == "__main__":
    main()
