"""Read a model from wherever it is, and say in one sentence why not."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from sepfactor.errors import ModelError
from sepfactor.graph.instrument import serialized

ModelSource: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model"


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model as it was handed in, never modified.

    Attributes:
        model: the graph; external data stays on disk.
        runnable: what onnxruntime is given as *the original*: the file itself, or its bytes.
        name: how reports call it.
    """

    model: ir.Model
    runnable: Path | bytes
    name: str

    @property
    def path(self) -> Path | None:
        """The file, where there is one."""
        return self.runnable if isinstance(self.runnable, Path) else None


def load(source: ModelSource) -> Loaded:
    """Read ``source``.

    Raises:
        ModelError: it does not exist, cannot be read, or is not a (whole) ONNX model.
    """
    if isinstance(source, ir.Model):
        return Loaded(source, serialized(source), source.graph.name or "model")
    if isinstance(source, onnx.ModelProto):
        model = _deserialize(source, "the model")
        return Loaded(model, source.SerializeToString(), source.graph.name or "model")
    if isinstance(source, bytes):
        return Loaded(_deserialize(_parse(source, "the model"), "the model"), source, "model")
    path = Path(source)
    model = _deserialize(_parse(_read(path), str(path)), str(path))
    ir.external_data.set_base_dir(model.graph, path.parent)
    _check_external_data(model, path)
    return Loaded(model, path, path.name)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"There is no file {path}. Check the path of the model.") from None
    except IsADirectoryError:
        raise ModelError(f"{path} is a folder. Name the .onnx file inside it.") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from None


def _parse(data: bytes, where: str) -> onnx.ModelProto:
    if not data:
        raise ModelError(f"{where} is empty. Export or copy the model again.")
    try:
        proto: onnx.ModelProto = onnx.ModelProto.FromString(data)
    except DecodeError:
        raise ModelError(
            f"{where} is not an ONNX model, or is cut off or damaged: its {len(data):,} bytes do not "
            "parse. Export or copy the model again."
        ) from None
    return proto


def _deserialize(proto: onnx.ModelProto, where: str) -> ir.Model:
    if not proto.ir_version or not proto.graph.node:
        raise ModelError(
            f"{where} is not an ONNX model: it holds no graph. Name a file written by an ONNX exporter."
        )
    if proto.ir_version >= 3 and not proto.opset_import:  # what a file cut off behind its graph looks like
        raise ModelError(
            f"{where} is cut off or damaged: it names no operator set. Export or copy the model again."
        )
    try:
        with quiet():
            return ir.from_proto(proto)
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # onnx-ir wraps what is wrong in where it was found
            cause = cause.__cause__
        raise ModelError(
            f"{where} parses, but its graph is not valid ONNX: {first_line(cause)}. "
            "Check it with onnx.checker, or export it again."
        ) from error


def external_files(model: ir.Model) -> list[Path]:
    """The files besides its own in which a model keeps weights."""
    return list(dict.fromkeys(Path(tensor.path) for tensor in _external_tensors(model)))


def _external_tensors(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            yield value.const_value


def _check_external_data(model: ir.Model, path: Path) -> None:
    for tensor in _external_tensors(model):
        file = Path(tensor.path)
        if not file.is_file():
            raise ModelError(
                f"{path} keeps weights in {file}, which does not exist. Copy that file next to the model."
            )
        if file.stat().st_size < (tensor.offset or 0) + (tensor.length or 0):
            raise ModelError(
                f"{path} keeps weights in {file}, which is cut off. Export or copy the model again."
            )


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without a closing full stop."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].strip().rstrip(".")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the loggers of onnx-ir and onnxscript: what matters of it is found out by checking."""
    loggers = [logging.getLogger(name) for name in ("onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
