"""Read a model from wherever it is, and say in one sentence why not."""

from __future__ import annotations

import logging
import os
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError, EncodeError, Message

from sepfactor.errors import ModelError, is_text
from sepfactor.graph.external import external_tensors
from sepfactor.graph.inline import inlined
from sepfactor.graph.instrument import serialized
from sepfactor.graph.limits import check_work
from sepfactor.graph.maps import remember_types, without_map_types
from sepfactor.graph.sparse import densified

ModelSource: TypeAlias = "str | os.PathLike[str] | bytes | onnx.ModelProto | ir.Model"

PROTOBUF_LIMIT = 2**31 - 1
"""Bytes a serialised model may have."""


_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_ORT_MARK = b"ORTM"
"""Behind four bytes; an ONNX file may have the same there, as the name of its producer."""

_IS_A_POINTER = "is a pointer of Git LFS, and not yet the file itself. Fetch it with `git lfs pull`."


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model as it was handed in, never modified.

    Attributes:
        model: the graph; external data stays on disk. Convolutions in functions and the like were taken
            out of them (:mod:`sepfactor.graph.inline`).
        runnable: what onnxruntime is given as *the original*: the file itself, or its bytes.
        name: how reports call it.
        notes: what was done to the graph, in sentences.
    """

    model: ir.Model
    runnable: Path | bytes
    name: str
    notes: tuple[str, ...] = ()

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
        _check_external_data(source, "the model")
        with refusing("the model"):
            return _loaded(source, serialized(source), source.graph.name or "model")
    if isinstance(source, onnx.ModelProto):
        data = _serialize(source)
        model, lost = _self_contained(source)
        return _loaded(model, data, source.graph.name or "model", lost)
    if isinstance(source, bytes):
        model, lost = _self_contained(_parse(source, "the model"))
        return _loaded(model, source, "model", lost)
    path = Path(source)
    if not is_text(path):
        raise ModelError(
            f"{path} has a name that is not text in UTF-8, and onnxruntime opens no such file. Rename it."
        )
    proto = _parse(_read(path), str(path))
    with refusing(str(path)):
        beside_it = _follow_links(proto, path)
    model, lost = _deserialize(proto, str(path))
    with refusing(str(path)):
        for tensor in external_tensors(model):
            tensor.base_dir = path.resolve().parent if str(tensor.location) in beside_it else path.parent
    _check_external_data(model, str(path))
    return _loaded(model, path, path.name, lost)


def _loaded(model: ir.Model, runnable: Path | bytes, name: str, lost: tuple[str, ...] = ()) -> Loaded:
    with quiet(), refusing(str(runnable) if isinstance(runnable, Path) else "the model"):
        plain, notes = inlined(model)
    return Loaded(plain, runnable, name, (*lost, *notes))


def _serialize(proto: onnx.ModelProto) -> bytes:
    try:
        return bytes(proto.SerializeToString())
    except (EncodeError, ValueError):
        raise ModelError(
            "The model is larger than the 2 GB a protobuf may have. Save it with its weights in a file "
            "beside it (onnx.save with save_as_external_data), and give its path."
        ) from None


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe or a device may never end
            raise ModelError(f"{path} is not a regular file. Name the .onnx file itself.")
        if path.is_file() and path.stat().st_size > PROTOBUF_LIMIT:
            raise ModelError(
                f"{path} is larger than the 2 GB an ONNX file may have. Weights beyond that belong in a "
                "file beside it: export it with external data."
            )
        return path.read_bytes()
    except ValueError:
        raise ModelError(f"{str(path)!r} cannot name a file. Check the path of the model.") from None
    except FileNotFoundError:
        raise ModelError(f"There is no file {path}. Check the path of the model.") from None
    except IsADirectoryError:
        raise ModelError(f"{path} is a folder. Name the .onnx file inside it.") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from None


def _parse(data: bytes, where: str) -> onnx.ModelProto:
    if not data:
        raise ModelError(f"{where} is empty. Export or copy the model again.")
    if data.startswith(_LFS_POINTER):
        raise ModelError(f"{where} {_IS_A_POINTER}")
    try:
        proto: onnx.ModelProto = onnx.ModelProto.FromString(data)
    except DecodeError:
        if data[4:8] == _ORT_MARK:
            raise ModelError(
                f"{where} is in onnxruntime's own format (.ort), which is made for one machine and cannot be "
                "rewritten. Give the .onnx that it was made of."
            ) from None
        raise ModelError(
            f"{where} is not an ONNX model, or is cut off or damaged: its {len(data):,} bytes do not "
            "parse. Export or copy the model again."
        ) from None
    return proto


def _follow_links(proto: onnx.ModelProto, path: Path) -> set[str]:
    """Name data files where they are, in place, if links lead to them as one leads to the model; their names.

    A hub keeps model and data side by side under names of its own, and a folder of links to them.
    """
    home = path.resolve().parent
    if home == path.parent.resolve():
        return set()
    found = set()
    for tensor in _tensors(proto):
        for entry in tensor.external_data:
            if entry.key == "location" and (path.parent / entry.value).is_symlink():
                real = (path.parent / entry.value).resolve()
                if real.is_relative_to(home):
                    entry.value = real.relative_to(home).as_posix()
                    found.add(entry.value)
    return found


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Every tensor in a message."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in (value,) if isinstance(value, Message) else value:
                yield from _tensors(inner)


def _deserialize(proto: onnx.ModelProto, where: str) -> tuple[ir.Model, tuple[str, ...]]:
    """The graph, and what of the file is not in it, in sentences."""
    if not proto.ir_version or not proto.graph.node:
        raise ModelError(
            f"{where} is not an ONNX model: it holds no graph. Name a file written by an ONNX exporter."
        )
    if proto.ir_version >= 3 and not proto.opset_import:  # what a file cut off behind its graph looks like
        raise ModelError(
            f"{where} is cut off or damaged: it names no operator set. Export or copy the model again."
        )
    for text in _texts(proto):
        if isinstance(text, bytes):  # what protobuf makes of text that is not UTF-8
            raise ModelError(
                f"{where} is damaged: it calls something {text[:40]!r}, which is no text. Export or copy the "
                "model again."
            )
    lost = []
    with quiet(), refusing(where):
        check_work(proto, where)
        dense, count = densified(proto)
        if count:
            lost.append(f"{count} sparse tensor{'s' * (count > 1)} became dense.")
        if proto.training_info:
            lost.append("What the file holds for training was left out.")
        plain, types = without_map_types(dense)
        model = ir.from_proto(plain)
        remember_types(model, types)
        if _sort(model):
            lost.append("Nodes that read what a later one writes were moved behind it.")
    for graph in model.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.serde.TensorProtoTensor):
                value.const_value.metadata_props.clear()  # onnx-ir would write them twice
    return model, tuple(lost)


def _sort(model: ir.Model) -> bool:
    """Bring nodes into an order they can run in, in place, as onnxruntime does; whether any moved.

    Raises:
        ValueError: there is none.
    """
    holders: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    moved = False
    for holder in holders:
        before = [*holder.all_nodes()]
        try:
            holder.sort()
        except ValueError:
            raise ValueError("its nodes read each other in a circle") from None
        moved |= before != [*holder.all_nodes()]
    return moved


def _texts(message: Message) -> Iterator[str | bytes]:
    """Every text in a message; of a tensor, whose numbers are better not looked at, its name and place."""
    if isinstance(message, onnx.TensorProto):
        yield message.name
        for entry in message.external_data:
            yield entry.value
        return
    for field, value in message.ListFields():
        if field.type not in (field.TYPE_STRING, field.TYPE_MESSAGE):
            continue
        for inner in (value,) if isinstance(value, str | bytes | Message) else value:
            if isinstance(inner, Message):
                yield from _texts(inner)
            else:
                yield inner


@contextmanager
def refusing(where: str) -> Iterator[None]:
    """Whatever onnx-ir or a pass over a graph stumbles upon, as a :class:`ModelError`."""
    try:
        yield
    except ModelError:
        raise
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
    return list(dict.fromkeys(Path(tensor.path) for tensor in external_tensors(model)))


def _self_contained(proto: onnx.ModelProto) -> tuple[ir.Model, tuple[str, ...]]:
    """A model that is no file, and so has no folder in which weights could lie."""
    model, lost = _deserialize(proto, "the model")
    with refusing("the model"):
        is_whole = next(external_tensors(model), None) is None
    if not is_whole:
        raise ModelError(
            "The model keeps weights in other files, and bytes do not say in which folder. Give its path, "
            "or load it with its external data first."
        )
    return model, lost


def _check_external_data(model: ir.Model, where: str) -> None:
    """Refuse data files that are missing, too short, or not below the folder of the model.

    Who names any file of a machine as weights could read it, for they end up in the result.
    """
    with refusing(where):
        tensors = [*external_tensors(model)]
    for tensor in tensors:
        with refusing(where):  # such as a name that holds a zero byte
            file = Path(tensor.path)
            outside = not _is_below(file, Path(tensor.base_dir))
            about = file.stat() if file.is_file() else None
            start = tensor.offset or 0
            needed = tensor.nbytes
            end = start + (needed if tensor.length is None else tensor.length)
        if outside:
            raise ModelError(
                f"{where} keeps weights in {str(tensor.location)!r}, which leads out of its folder, be it by "
                "a link. Put the file next to the model, and name it alone."
            )
        if about is None:
            raise ModelError(
                f"{where} keeps weights in {file}, which does not exist. Copy that file next to the model."
            )
        if about.st_nlink > 1:  # onnx-ir refuses it too
            raise ModelError(
                f"{where} keeps weights in {file}, which is a hard link: the file has other names too, and "
                "may be any of this machine. Put a copy of it in its place."
            )
        if not 0 <= start <= end or end - start < needed:
            raise ModelError(
                f"{where} keeps {tensor.name!r} in {file}, at an offset and of a length that cannot be. "
                "Export the model again."
            )
        if about.st_size < end and _is_pointer(file):
            raise ModelError(f"{where} keeps weights in {file}, which {_IS_A_POINTER}")
        if about.st_size < end:
            raise ModelError(
                f"{where} keeps weights in {file}, which is cut off. Export or copy the model again."
            )


def _is_pointer(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(_LFS_POINTER)) == _LFS_POINTER


def _is_below(file: Path, folder: Path) -> bool:
    """Whether a file lies in a folder or deeper, as named and as links lead."""
    as_named = Path(os.path.normpath(file)).is_relative_to(os.path.normpath(folder))
    return as_named and file.resolve().is_relative_to(folder.resolve())


def first_line(error: BaseException) -> str:
    """The first line of an error's text, shortened, without a closing full stop."""
    text = str(error).strip() or type(error).__name__
    return textwrap.shorten(text.splitlines()[0], 300, placeholder=" …").rstrip(".")


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
