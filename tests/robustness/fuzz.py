"""Damaged files of every kind sepfactor reads: what comes out is a result or a sentence.

The tests run a few of each. ``python -m tests.robustness.fuzz --minutes 20`` runs until the time is
over, each worker in a process of its own with little memory, and keeps what breaks one in a folder.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser

from tests import networks
from tests.graph.build import model, norm_of, normal, with_weights_as_inputs
from tests.robustness import mutate
from tests.robustness.way import attempt, pretend_faster

OPTIONS: dict[str, Any] = {"limit": 1, "max_error": 0.3, "linear_layers": True, "dequantize": True}
SHAPE = {"image": (1, 3, 16, 16)}
MEMORY = 6 * 2**30
LIMIT_S = 60.0


@dataclass(frozen=True)
class Target:
    """A kind of file: whole ones, how they are damaged, and what reads them."""

    name: str
    suffix: str
    whole: Callable[[], list[bytes]]
    damage: Callable[[bytes, random.Random], bytes]
    use: Callable[[Path], object]


@cache
def plain() -> bytes:
    return networks.plain().SerializeToString()


@cache
def models() -> list[bytes]:
    """With most of what a graph can hold."""
    small = {"inputs": "float[N,3,H,W] image", "outputs": "float[N,C,P,Q] y"}
    folded = model(
        """p = Pad(image, pads) a = Conv<kernel_shape = [3,3], strides = [1,1]>(p, w)
           n = BatchNormalization(a, s, b, m, v) k = Constant<value = float[4] {1, 2, 3, 4}>()
           r = Relu(n) y = Conv<group = 2, auto_pad = "SAME_UPPER">(r, u, k)""",
        **small,
        **norm_of(4),
        w=normal(4, 3, 3, 3),
        u=normal(4, 2, 3, 3),
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    )
    branch = model(
        """a = Conv<pads = [1,1,1,1]>(image, w) c = Identity(w) b = Conv<pads = [1,1,1,1]>(image, c)
           cond = Constant<value = bool[1] {1}>()
           d = If(cond) <
             then_branch = t () => (float[N,4,H,W] e) { e = Conv<pads = [1,1,1,1]>(a, q) },
             else_branch = f () => (float[N,4,H,W] g) { g = Identity(b) }>
           f2 = Add(a, d) y = ConvTranspose<strides = [2,2]>(f2, w)""",
        **small,
        w=normal(4, 3, 3, 3),
        q=normal(4, 4, 3, 3),
    )
    half = model(
        "y = Conv<dilations = [2,1], pads = [2,1,2,1]>(image, w, b)",
        "float16[N,3,H,W] image",
        "float16[N,C,P,Q] y",
        w=normal(8, 3, 3, 3, dtype=np.float16),
        b=normal(8, dtype=np.float16),
    )
    kinds = model(
        """t = ConvTranspose<strides = [2,2], pads = [1,1,1,1], output_padding = [1,1]>(image, u)
           a = Reshape(t, axes) r = Conv<pads = [2,2]>(a, w) b = Relu(r) c = Conv<pads = [2,2]>(b, v, k)
           p = GlobalAveragePool(c) f = Flatten(p)
           g = Gemm<transB = 1, alpha = 0.5, beta = 2.0>(f, m, k) y = MatMul(g, m)""",
        "float[N,3,H,W] image",
        "float[N,C] y",
        u=normal(3, 8, 3, 3),
        axes=np.array([0, 8, -1]),
        w=normal(16, 8, 5),
        v=normal(16, 16, 5),
        k=normal(16),
        m=normal(16, 16),
    )
    many = [networks.plain(), networks.two_inputs(), networks.classifier(), folded, branch, half, kinds]
    old = with_weights_as_inputs(
        model("y = Conv(image, w)", ir_version=3, opset=8, w=normal(4, 3, 3, 3), **small)
    )
    return [proto.SerializeToString() for proto in (*many, old, quantised(), *wrapped())]


def quantised() -> onnx.ModelProto:
    """Whole numbers in between, and a convolution of three axes."""
    return model(
        """q = QuantizeLinear(image, s, z)  d = DequantizeLinear(q, s, z)
           w = DequantizeLinear<axis = 0>(i, t, o)  c = DequantizeLinear(j, s)
           a = Conv<pads = [1,1,1,1]>(d, w, c)  b = Reshape(a, axes)
           y = Conv<strides = [1,1,2], pads = [1,1,1,1,0,1]>(b, v)""",
        "float[N,3,H,W] image",
        "float[N,C,D,P,Q] y",
        s=np.float32(0.02),
        z=np.uint8(90),
        i=np.arange(-108, 108, dtype=np.int8).reshape(8, 3, 3, 3),
        t=np.linspace(0.01, 0.02, 8, dtype=np.float32),
        o=np.zeros(8, np.int8),
        j=np.arange(8, dtype=np.int32),
        axes=np.array([0, 2, 2, 2, -1]),
        v=normal(4, 2, 3, 3, 3),
    )


def wrapped() -> list[onnx.ModelProto]:
    """Convolutions in a function, in a branch always taken, in a loop; fused, and of a sparse weight."""
    around = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "own": 1, "com.microsoft": 1]>
           g (float[N,3,H,W] image) => (float[N,C,P,Q] y) <bool yes = {1}, int64 three = {3}> {
             a = own.Block<steps = [1,1]>(image, w)
             b = If(yes) <
               then_branch = t () => (float[N,3,H,W] c) { c = own.Block<steps = [1,1]>(a, w) },
               else_branch = e () => (float[N,3,H,W] d) { d = Relu(a) }>
             f = Loop(three, yes, b) <body = l (int64 i, bool on, float[N,3,H,W] before)
               => (bool off, float[N,3,H,W] after) {
                 off = Identity(on)  after = Conv<pads = [1,1,1,1]>(before, w) }>
             y = com.microsoft.FusedConv<pads = [1,1,1,1], activation = "Clip",
                                         activation_params = [-1.0, 1.0]>(f, w) }
           <domain: "own", opset_import: ["": 17]> Block <steps> (x, w) => (y) {
             a = Conv<pads = [1,1,1,1], strides: ints = @steps>(x, w)  y = Relu(a) }"""
    )
    around.graph.initializer.append(onnx.numpy_helper.from_array(normal(3, 3, 3, 3) / 5, "w"))
    few = networks.plain()
    weight = onnx.numpy_helper.to_array(few.graph.initializer.pop())
    places = np.flatnonzero(np.abs(weight) > 0.05)
    few.graph.sparse_initializer.append(
        onnx.helper.make_sparse_tensor(
            onnx.numpy_helper.from_array(weight.ravel()[places], "w2"),
            onnx.numpy_helper.from_array(places, "places"),
            weight.shape,
        )
    )
    return [around, few]


def external_models() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "far.onnx"
        _save_far(path)
        return [path.read_bytes()]


def use_model(path: Path) -> object:
    return attempt(path, input_shape={}, **OPTIONS)


def use_external(path: Path) -> object:
    path.with_name("far.bin").unlink(missing_ok=True)
    _save_far(path.with_name("whole.onnx"))
    return use_model(path)


def _save_far(path: Path) -> None:
    onnx.save(networks.plain(), path, save_as_external_data=True, location="far.bin", size_threshold=0)


def saved(save: Callable[[Path], object], suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix}"
        save(path)
        return path.read_bytes()


def archives() -> list[bytes]:
    image, labels = networks.images(2), np.array([0, 3])
    return [
        saved(lambda p: np.savez(p, image=image, labels=labels), ".npz"),
        saved(lambda p: np.savez_compressed(p, image=np.zeros_like(image)), ".npz"),
    ]


def arrays() -> list[bytes]:
    return [
        saved(lambda p, a=a: np.save(p, a), ".npy")
        for a in (networks.images(2), networks.images(1).astype("f2"))
    ]


def use_data(path: Path) -> object:
    return attempt(networks.classifier(), data=path, **OPTIONS)


def label_files() -> list[bytes]:
    return [b"name,label\na.png,0\nb.png,3\n", b"1\n2\n", b"label;x\n3;-1\n0;'2'\n", b'"1"\t2\n"3"\t4\n']


def label_arrays() -> list[bytes]:
    kinds = (np.array([1, 2]), np.array([1.0, 2.0]), np.array([[1], [2]], np.uint8))
    return [saved(lambda p, a=a: np.save(p, a), ".npy") for a in kinds]


def use_labels(path: Path) -> object:
    return attempt(
        networks.classifier(), data={"image": networks.images(2)}, labels=path, held_out=0.9, **OPTIONS
    )


def configs() -> list[bytes]:
    return [
        b"""max-error = 0.1
limit = 1
seed = 3
[layers.'body.*']
rank = 2
scheme = ['spatial', 'channel']
""",
        b"""rank = 2
threads = 1
memory = '2GB'
ignore = ['head.*']
held-out = 0.5
input-shape = {image = [1, 3, 16, 16]}
""",
        b"""color = 'rgb'
scale = 0.1
mean = [0.5, 0.2, 0.1]
std = 0.5
layout = 'nchw'
resize = 20
data = 'x.npz'
labels = 3
""",
    ]


def use_config(path: Path) -> object:
    return attempt(networks.plain(), config=path)


def pictures() -> list[bytes]:
    from PIL import Image

    pixels = Image.fromarray((networks.images(1, 24)[0].transpose(1, 2, 0) * 255).astype(np.uint8))
    found = [saved(pixels.save, suffix) for suffix in (".png", ".jpg", ".bmp", ".webp")]
    found += [saved(pixels.convert(mode).save, ".png") for mode in ("P", "L", "RGBA", "I;16", "1")]
    return found


def use_picture(path: Path) -> object:
    return attempt(networks.plain(), data=path, **OPTIONS)


TARGETS = {
    target.name: target
    for target in (
        Target("model", ".onnx", models, mutate.damaged_model, use_model),
        Target("external", ".onnx", external_models, mutate.damaged_model, use_external),
        Target("npz", ".npz", archives, mutate.damaged_bytes, use_data),
        Target("npy", ".npy", arrays, mutate.damaged_bytes, use_data),
        Target("npy header", ".npy", arrays, mutate.damaged_text, use_data),
        Target("labels", ".csv", label_files, mutate.damaged_text, use_labels),
        Target("label array", ".npy", label_arrays, mutate.damaged_bytes, use_labels),
        Target("config", ".toml", configs, mutate.damaged_text, use_config),
        Target("picture", ".png", pictures, mutate.damaged_bytes, use_picture),
    )
}


def case(target: Target, seed: int) -> bytes:
    """The damaged file of a number."""
    draw = random.Random(f"{target.name} {seed}")
    return target.damage(draw.choice(_whole(target.name)), draw)


@cache
def _whole(name: str) -> list[bytes]:
    return TARGETS[name].whole()


def work(name: str, start: int, folder: Path) -> None:
    """Cases from ``start`` on until killed; the one at hand lies in the folder."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("error")
    os.environ["SEPFACTOR_CACHE"] = str(folder / "cache")
    os.environ["SEPFACTOR_RUN_SECONDS"] = "5"  # a damaged count makes a loop as good as endless
    pretend_faster(setattr)
    target = TARGETS[name]
    seed = start
    while True:
        path = folder / f"case{target.suffix}"
        path.write_bytes(case(target, seed))
        (folder / "seed").write_text(str(seed))
        target.use(path)
        seed += 1


def hunt(name: str, minutes: float, start: int, kept: Path) -> tuple[int, int]:
    """``(cases, findings)`` of so many minutes."""
    end, seed, findings = time.monotonic() + 60 * minutes, start, 0
    while time.monotonic() < end:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            command = (sys.executable, "-m", "tests.robustness.fuzz", "--work", name, str(seed), temporary)
            log = folder / "log"
            with log.open("wb") as stream:
                worker = subprocess.Popen(command, stdout=stream, stderr=stream)
                reached, moved = seed, time.monotonic()
                while worker.poll() is None and time.monotonic() < end:
                    time.sleep(0.5)
                    now = _seed(folder, reached)
                    if now != reached:
                        reached, moved = now, time.monotonic()
                    if time.monotonic() - moved > LIMIT_S:
                        stream.write(b"\nhangs\n")
                        break
                over = worker.poll() is None and time.monotonic() - moved <= LIMIT_S
                worker.kill()
                worker.wait()
            reached = _seed(folder, reached)
            seed = reached + 1
            if not over:
                findings += 1
                suffix = TARGETS[name].suffix
                place = kept / f"{name.replace(' ', '-')}-{reached}{suffix}"
                place.write_bytes((folder / f"case{suffix}").read_bytes())
                place.with_suffix(".log").write_bytes(
                    log.read_bytes() + f"\nended with {worker.returncode}\n".encode()
                )
    return seed - start, findings


def _seed(folder: Path, default: int) -> int:
    try:
        return int((folder / "seed").read_text() or default)
    except OSError:
        return default


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="for all targets together")
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--start", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, default=Path("findings"))
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        work(asked.work[0], int(asked.work[1]), Path(asked.work[2]))
    asked.keep.mkdir(exist_ok=True)
    targets = asked.target or list(TARGETS)
    for name in targets:
        cases, findings = hunt(name, asked.minutes / len(targets), asked.start, asked.keep)
        sys.stdout.write(f"{name}: {cases} cases, {findings} findings\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
