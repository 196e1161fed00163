"""An engine whose times are decided: what is tested is what is made of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx.external_data_helper import load_external_data_for_model
from typing_extensions import Unpack

from sepfactor.errors import OptionError
from sepfactor.graph.instrument import with_outputs
from sepfactor.measure.engine import Feed, HowToTime, Level, NodeTime, Session, Use, ValueInfo, Watch
from sepfactor.measure.engines import open_engine
from sepfactor.measure.machine import Environment
from sepfactor.measure.ncnn_engine import Ncnn
from sepfactor.measure.onnxruntime_engine import OnnxRuntime
from sepfactor.measure.onnxruntime_web_engine import OnnxRuntimeWeb
from sepfactor.measure.openvino_engine import OpenVino
from sepfactor.measure.rounds import Clock, Rounds
from sepfactor.measure.timing import Call, Meter
from sepfactor.serialized import Serialized

Shapes = Mapping[str, tuple[int, ...]]
NodeCost = Callable[[onnx.NodeProto, Shapes], float]
"""Milliseconds of a node, by the shapes of all values that it reads and writes, as far as they are known."""

_ROUNDS = 9


def macs(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Multiply-accumulates of a convolution or a product; 0 of all else, and of what never ran."""
    names = [*node.input[:2], *node.output]
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or not all(n in shapes for n in names):
        return 0
    x, weight, y = (shapes[name] for name in names)
    if node.op_type == "Conv":
        return math.prod(y) * math.prod(weight[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(x) * math.prod(weight[1:])
    is_transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return math.prod(y) * (x[0] if is_transposed else x[-1])


def by_macs(node: onnx.NodeProto, shapes: Shapes) -> float:
    """A millisecond for a million multiply-accumulates, and a microsecond for every node."""
    return 1e-6 * macs(node, shapes) + 1e-3


@dataclass(frozen=True, eq=False)
class DecidedSession:
    """A network that runs as it is, and takes as long as was decided."""

    inner: Session
    model: Path | bytes

    def get_inputs(self) -> Sequence[ValueInfo]:
        return self.inner.get_inputs()

    def get_outputs(self) -> Sequence[ValueInfo]:
        return self.inner.get_outputs()

    def run(self, feed: Feed) -> list[np.ndarray]:
        return self.inner.run(feed)


def lacks(name: str) -> bool:
    """Whether the engine of this name is not installed here."""
    try:
        _ = open_engine(name).environment
    except OptionError:
        return True
    return False


@dataclass(frozen=True)
class DecidedEngine:
    """Runs networks on onnxruntime, and says that a run takes what its nodes cost.

    Attributes:
        cost: milliseconds of a node.
        inner: what runs them.
        spread: rounds differ by ± this share, alike for all networks.
        known: what was decided so far, by network and shapes of inputs.
    """

    cost: NodeCost = by_macs
    inner: OnnxRuntime | OpenVino | OnnxRuntimeWeb | Ncnn = field(default_factory=OnnxRuntime)
    spread: float = 0.0
    known: dict[str, list[NodeTime]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def exact(self) -> DecidedEngine:
        return replace(self, inner=self.inner.exact)

    @property
    def block(self) -> int:
        return self.inner.block

    @property
    def threads(self) -> int:
        return self.inner.threads

    @property
    def provider(self) -> str:
        return self.inner.provider

    @property
    def clock(self) -> Clock:
        return "cpu"

    @property
    def environment(self) -> Environment:
        return self.inner.environment

    def with_threads(self, threads: int) -> DecidedEngine:
        return replace(self, inner=self.inner.with_threads(threads))

    def open(
        self,
        model: Path | bytes,
        *,
        level: Level = "all",
        optimised_path: Path | None = None,
        use: Use = "values",
    ) -> DecidedSession:
        inner = self.inner.open(model, level=level, optimised_path=optimised_path, use=use)
        return DecidedSession(inner, model)

    def time(self, runs: Sequence[tuple[Session, Sequence[Feed]]], **how: Unpack[HowToTime]) -> Rounds:
        whole = []
        for session, feeds in runs:
            assert isinstance(session, DecidedSession)
            whole.append(sum(node.median_ms for node in self._nodes(session.model, feeds[0])))
        varying = 1.0 + self.spread * np.linspace(-1.0, 1.0, max(how.get("min_rounds", 0), _ROUNDS))
        times = np.outer(whole, varying)
        return Rounds(times, times, np.zeros(times.shape, bool))

    def call(self, session: Session, feeds: Sequence[Feed]) -> Call:
        assert isinstance(session, DecidedSession)
        return self.inner.call(session.inner, feeds)

    def meter(self) -> Meter:
        return self.inner.meter()

    def failures(self) -> tuple[type[Exception], ...]:
        return self.inner.failures()

    def profile(
        self, model: Path | bytes, feed: Feed, *, runs: int = 10, watch: Watch | None = None
    ) -> list[NodeTime]:
        return self._nodes(model, feed)

    def _nodes(self, model: Path | bytes, feed: Feed) -> list[NodeTime]:
        proto = _proto(model)
        taken = [(name, x.shape, x.dtype.str) for name, x in sorted(feed.items())]
        key = hashlib.sha256(proto.SerializeToString(deterministic=True) + repr(taken).encode()).hexdigest()
        if key not in self.known:
            shapes = self._shapes(proto, feed)
            self.known[key] = [
                NodeTime(node.name or f"{node.op_type}_{i}", node.op_type, i, self.cost(node, shapes))
                for i, node in enumerate(_nodes(proto.graph))
            ]
        return self.known[key]

    def _shapes(self, proto: onnx.ModelProto, feed: Feed) -> Shapes:
        """Of what the graph itself holds, as it runs; values inside of bodies are not seen."""
        model = ir.from_proto(proto)
        view = with_outputs(model, [v.name for node in model.graph for v in node.outputs if v.name])
        session = self.inner.exact.open(view, level="none")
        names = [output.name for output in session.get_outputs()]
        shapes = {name: x.shape for name, x in zip(names, session.run(feed), strict=True)}
        weights = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
        return {name: x.shape for name, x in feed.items()} | weights | shapes


def _proto(model: Path | bytes) -> onnx.ModelProto:
    if isinstance(model, Path):
        return onnx.load(model)
    proto = onnx.load_from_string(bytes(model))
    if isinstance(model, Serialized) and model.folder is not None:
        load_external_data_for_model(proto, str(model.folder))
    return proto


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)
