"""Ideas beyond factoring one layer at a time, each against the tool at the same measured speed.

    python benchmarks/beyond.py narrow --network NAME [--form channels|blocks|both] [--seed N] [--cost 0.7]...
    python benchmarks/beyond.py combine --network NAME PLAN.json... [--cost 1] [--cost 0.9]   both together
    python benchmarks/beyond.py judge --network NAME FILE.onnx...    files of the tool, under the same clock
    python benchmarks/beyond.py pivots                               micro-benchmarks of pivoted factors
    python benchmarks/beyond.py siblings --network NAME              one first factor for siblings

``narrow`` drops channels between convolutions and replaces residual branches, as ``beyond_channels.py``
does, chosen by what each costs alone on calibration images that nothing was fitted to, and writes files with
``--keep FOLDER``. No labels are used but to judge, on images nothing was chosen by. Results are in
``results/experiments.md``. Run it with OPENBLAS_NUM_THREADS=1; speeds are of one thread, interleaved, by its
own clock.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from beyond_channels import Block, blocks, build, variants, without
from beyond_factors import pivots, sibling_times, siblings
from beyond_net import Array, Net, Sample, producers, prunable
from networks import TASKS, TIMING, Task
from numpy.typing import NDArray
from photographs import SHARED, Feed, centred, paths_of
from PIL import Image

from sepfactor.factor import SCHEME_NAMES, select_schemes
from sepfactor.fit.build import build as build_plan
from sepfactor.fit.evidence import observe
from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.measure import open_and_time
from sepfactor.options import make_options
from sepfactor.plans.document import Plan, PlannedLayer
from sepfactor.progress import silent
from sepfactor.study.recipe import fitting_plan
from sepfactor.study.study import open_study

Probabilities = NDArray[np.float64]
LANES = 16
"""Channels of a block of onnxruntime's layout here; both sides of a convolution are padded to it."""

MACS_PER_SECOND, BYTES_PER_SECOND = 1.2e11, 1e10
SPOTS = {"resnet20": 20, "squeezenet": 60}
"""Positions of each image that a layer is fitted to."""

HELD_OUT = 0.25
"""Share of the calibration images that chooses."""


# What is asked of a network ----------------------------------------------------------------------


def answers(model: bytes | Path, feeds: Sequence[Feed]) -> Probabilities:
    """``(samples, classes)``."""
    session = TIMING.open(model)
    found = np.concatenate([session.run(feed)[0].reshape(-1, _classes(session, feed)) for feed in feeds])
    found = found.astype(np.float64)
    if np.abs(found.sum(axis=1) - 1).max() > 1e-3:
        found = np.exp(found - found.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


def _classes(session: Any, feed: Feed) -> int:
    answer = session.run(feed)[0]
    return answer.size // len(next(iter(feed.values())))


def divergence(original: Probabilities, other: Probabilities) -> Array:
    """KL of each sample."""
    small = 1e-12
    return (original * (np.log(original + small) - np.log(other + small))).sum(axis=1)


@dataclass(frozen=True, eq=False)
class Subject:
    """A classifier with the images that fit, that choose and that judge it."""

    task: Task
    net: Net
    sample: Sample
    choosing: Sequence[Feed]

    @classmethod
    def of(cls, name: str, seed: int) -> Subject:
        """The network of a task of this name."""
        task = TASKS[name]
        net = Net.of(task.prepared)
        if name == "squeezenet":
            images = np.concatenate([centred(path)[net.input] for path in paths_of("calibration")])
        else:
            images = np.concatenate([feed[net.input] for feed in task.calibrate()])
        order = np.random.default_rng(seed).permutation(len(images))
        cut = round(len(images) * (1 - HELD_OUT))
        sample = Sample(images[order[:cut]], SPOTS[name], seed).look(net)
        return cls(task, net, sample, [{net.input: images[i : i + 1]} for i in order[cut:]])

    def report(self, name: str, files: Sequence[tuple[str, Path | bytes]]) -> None:
        """Judge and time files, and print a row each."""
        exam = self.task.exam
        right, sure = self.task.original_scores, answers(self.task.file, exam.feeds)
        timed = [("original", self.task.file), *files]
        rounds = open_and_time(TIMING, timed, [exam.sample], seconds=4.0 * len(timed))
        for number, (label, file) in enumerate(files, 1):
            found = answers(file, exam.feeds)
            marks = _marks(self.task, found)
            lost, far = marks - right, divergence(sure, found)
            same = 100.0 * (found.argmax(1) == sure.argmax(1))
            speed = rounds.ratio(number, 0)
            print(
                f"| {name} | {label} | {speed.ratio:.2f}× ({speed.low:.2f}–{speed.high:.2f}) "
                f"| {lost.mean():+.2f} ± {_error(lost):.2f} | {same.mean():.1f} % "
                f"| {far.mean():.3f} ± {_error(far):.3f} |".replace("-", "−"),
                flush=True,
            )


def _marks(task: Task, found: Probabilities) -> Array:
    """100 or 0 for each sample."""
    marks, start = [], 0
    for number, feed in enumerate(task.exam.feeds):
        count = len(next(iter(feed.values())))
        marks.extend(task.exam.mark(number, found[start : start + count]))
        start += count
    return np.asarray(marks)


def _error(values: Array) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


# Channels and blocks -----------------------------------------------------------------------------

State = tuple[tuple[str, int], ...]
"""Output of a convolution → channels left; sum of a block → size of the convolution in its place."""


@dataclass(frozen=True, eq=False)
class Narrowing:
    """What may be done to a network, with what each does alone."""

    subject: Subject
    widths: Mapping[str, Sequence[int]]
    kernels: Mapping[str, Sequence[int]]
    alone: Mapping[tuple[str, int], float]
    branches: Mapping[str, Block]

    @classmethod
    def of(cls, subject: Subject, form: str, remembered: Path | None) -> Narrowing:
        """Measure every choice alone, on images that choose; or read what was measured before."""
        net, sample = subject.net, subject.sample
        original = answers(net.serialised(), subject.choosing)

        def lost(other: Net) -> float:
            return float(divergence(original, answers(other.serialised(), subject.choosing)).mean())

        widths: dict[str, Sequence[int]] = {}
        kernels: dict[str, Sequence[int]] = {}
        if form in ("channels", "both"):
            widths = {name: range(LANES, count, LANES) for name, count in prunable(net).items()}
            widths = {name: several for name, several in widths.items() if len(several)}
        branches = {block.sum: block for block in blocks(net)}
        if form in ("blocks", "both"):
            kernels = dict.fromkeys(branches, (3, 1, 0))
        if remembered is not None and remembered.exists():
            known = json.loads(remembered.read_text())
            return cls(subject, widths, kernels, {(name, size): loss for name, size, loss in known}, branches)
        alone = {choice: lost(one) for choice, one in variants(net, sample, widths).items()}
        for name, sizes in kernels.items():
            for size in sizes:
                edited = without(net, branches[name], size)
                alone[name, size] = lost(build(edited, sample, {}, {branches[name].last}))
        if remembered is not None:
            remembered.write_text(json.dumps([[*choice, loss] for choice, loss in alone.items()]))
        return cls(subject, widths, kernels, alone, branches)

    def edited(self, state: State) -> tuple[Net, dict[str, int]]:
        """The network with blocks replaced, and widths of what is left."""
        net, widths = self.subject.net, {}
        for name, size in state:
            if name in self.branches:
                net = without(net, self.branches[name], size)
            else:
                widths[name] = size
        return net, widths

    def cost(self, state: State) -> float:
        """Seconds, by padded multiply-accumulates and by what is read and written."""
        net, widths = self.edited(state)
        seconds = 0.0
        for conv in net.convs():
            outs, ins, kh, kw = net.weight(conv).shape
            pixels = float(np.prod(self.subject.sample.sizes[conv.outputs[0]]))
            parts = producers(net, conv.inputs[0])
            if parts is not None:
                ins = sum(widths.get(name, count) for name, count in parts)
            outs = widths.get(conv.outputs[0], outs)
            padded = -(-outs // LANES) * LANES * (ins if ins < LANES else -(-ins // LANES) * LANES)
            strides = float(np.prod(conv.get("strides", (1, 1))))
            seconds += padded * kh * kw * pixels / MACS_PER_SECOND
            seconds += 4 * pixels * (outs + ins * strides) / BYTES_PER_SECOND
        return seconds

    def loss(self, state: State) -> float:
        """As if each choice lost what it does alone."""
        return sum(self.alone[one] for one in state)

    def _next(self, state: State) -> Iterator[State]:
        chosen = dict(state)
        hidden = {self.branches[name].hidden for name in chosen if name in self.branches}
        for name, sizes in self.widths.items():
            if name not in hidden:
                for size in sizes:
                    if size < chosen.get(name, 1 << 30):
                        yield tuple({**chosen, name: size}.items())
        for name, sizes in self.kernels.items():
            left = {k: v for k, v in chosen.items() if k != self.branches[name].hidden}
            for size in sizes:
                if size < chosen.get(name, 9):
                    yield tuple({**left, name: size}.items())

    def plan(self, share: float) -> State:
        """At most this share of the original's cost: what loses least for what it saves, one by one."""
        state: State = ()
        limit = share * self.cost(())
        while (cost := self.cost(state)) > limit:
            loss, best, most = self.loss(state), state, np.inf
            for other in self._next(state):
                saved = cost - self.cost(other)
                price = max(self.loss(other) - loss, 1e-6) / max(saved, 1e-12)
                if saved > 0 and price < most:
                    best, most = other, price
            if best == state:
                break
            state = best
        return state


def narrow(arguments: argparse.Namespace) -> None:
    """Plans at several costs, built and judged."""
    begin = time.process_time()
    subject = Subject.of(arguments.network, arguments.seed)
    narrowing = Narrowing.of(subject, arguments.form, arguments.remember)
    files: list[tuple[str, Path | bytes]] = []
    for share in arguments.cost:
        state = narrowing.plan(share)
        edited, widths = narrowing.edited(state)
        built = build(edited, subject.sample, widths).serialised()
        name = f"{arguments.form}, seed {arguments.seed}, cost {share:g}"
        print(name, dict(state), f"loss if added up {narrowing.loss(state):.3f}", flush=True)
        files.append((name, built))
        if arguments.keep:
            target = arguments.keep / f"{arguments.network}-{arguments.form}-{arguments.seed}-{share:g}.onnx"
            target.write_bytes(built)
    print(f"{time.process_time() - begin:.0f} CPU seconds of fitting and choosing")
    subject.report(arguments.network, files)


def combine(arguments: argparse.Namespace) -> None:
    """Plans of the tool on narrowed networks; of the first of several only what it does to averages."""
    subject = Subject.of(arguments.network, arguments.seed)
    narrowing = Narrowing.of(subject, arguments.form, arguments.remember)
    files: list[tuple[str, Path | bytes]] = []
    with tempfile.TemporaryDirectory() as folder:
        for share in arguments.cost:
            edited, widths = narrowing.edited(narrowing.plan(share))
            narrowed = build(edited, subject.sample, widths) if share < 1 else subject.net
            path = Path(folder, f"{share:g}.onnx")
            path.write_bytes(narrowed.serialised())
            for number, file in enumerate(arguments.files):
                plan = Plan.model_validate_json(file.read_text())
                bare = number == 0 and len(arguments.files) > 1
                built = Path(folder, f"{share:g}-{len(files)}.onnx")
                ir.save(_planned(path, plan, subject, factored=not bare), built)
                what = "nothing factored" if bare else file.name.removesuffix(".plan.json")
                files.append((f"{what}, on cost {share:g}", built))
        subject.report(arguments.network, files)


def _planned(network: Path, plan: Plan, subject: Subject, *, factored: bool) -> ir.Model:
    """What the tool builds of a plan for the original, with shapes and highest ranks of this network."""
    images = [{subject.net.input: image[None]} for image in subject.sample.images]
    asked = make_options({"data": images, "threads": TIMING.threads, "cache": False})
    study = open_study(load(network), asked, silent, plan.rewrites)
    sites = {site.output: site for site in study.sites}
    layers = []
    for layer in plan.layers:
        site, scheme = sites[layer.output], select_schemes((layer.scheme,)) if _is_scheme(layer) else ()
        change: dict[str, Any] = {"weight_shape": site.weight_shape}
        if scheme and site.stage is not None:
            full = () if scheme[0].refuses(site.stage) else scheme[0].decompose(site.stage).full_rank
            change["rank"] = tuple(map(min, layer.rank, full))
            if not factored or len(full) != len(layer.rank):
                change |= {"scheme": "keep", "rank": ()}
        layers.append(layer.model_copy(update=change))
    adapted = plan.model_copy(update={"layers": tuple(layers)})
    return build_plan(study, observe(study), fitting_plan(study, adapted)).to_write


def _is_scheme(layer: PlannedLayer) -> bool:
    return layer.scheme in SCHEME_NAMES


def judge(arguments: argparse.Namespace) -> None:
    """Files made by others."""
    task = TASKS[arguments.network]
    subject = Subject(task, Net.of(task.prepared), Sample(np.zeros(0), 0, 0), ())
    subject.report(arguments.network, [(path.stem, path) for path in arguments.files])


def inception(images: int) -> tuple[Net, Sample]:
    """Inception-v3 for five classes, and photographs it sees."""
    net = Net.of(prepare(load(SHARED / "models" / "zoo" / "nsfwjs_inception_v3.onnx").model))
    pictures = [
        Image.open(path).convert("RGB").resize((299, 299)) for path in paths_of("calibration", images)
    ]
    pixels = np.stack([np.asarray(picture, np.float32).transpose(2, 0, 1) / 255 for picture in pictures])
    return net, Sample(pixels, 200, 0).look(net)


def share(arguments: argparse.Namespace) -> None:
    """One first factor for siblings."""
    if arguments.network == "inception":
        siblings(*inception(40))
        sibling_times(seconds=6.0)
    else:
        subject = Subject.of(arguments.network, arguments.seed)
        siblings(subject.net, subject.sample)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("what", choices=("narrow", "combine", "judge", "pivots", "siblings"))
    parser.add_argument("files", nargs="*", type=Path, help="networks to judge")
    parser.add_argument("--network", choices=(*SPOTS, "inception"), default="resnet20")
    parser.add_argument("--form", choices=("channels", "blocks", "both"), default="channels")
    parser.add_argument("--seed", type=int, default=0, help="which images fit, and positions")
    parser.add_argument("--cost", type=float, action="append", help="share of the original's")
    parser.add_argument("--remember", type=Path, help="JSON of what choices lose alone, written or read")
    parser.add_argument("--keep", type=Path, help="folder to write networks to")
    arguments = parser.parse_intermixed_args()
    arguments.cost = arguments.cost or [0.8, 0.65, 0.5]
    torch.set_num_threads(1)
    does: dict[str, Callable[[argparse.Namespace], None]] = {
        "narrow": narrow,
        "combine": combine,
        "judge": judge,
        "pivots": lambda _: pivots(seconds=4.0),
        "siblings": share,
    }
    does[arguments.what](arguments)


if __name__ == "__main__":
    main()
