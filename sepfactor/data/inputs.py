"""The inputs a model declares, and the check that an array fits one."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from sepfactor.errors import DataError, ModelError, OptionError

Shape = tuple[int | str | None, ...]

_DTYPES: dict[str, type[np.generic]] = {
    "float": np.float32, "double": np.float64, "float16": np.float16, "bool": np.bool_,
    "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64,
    "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64,
}  # fmt: skip

LABELS = ("labels",)
TARGETS = ("target", "targets")
NOT_INPUTS = (*LABELS, *TARGETS)
"""Arrays that may lie beside the inputs, and are never taken for one by guess."""

_CASTABLE = {"b": "b", "i": "biu", "u": "biu", "f": "biuf"}
"""Kind of an input → kinds of data it may be made from (integers only where they fit)."""


class Argument(Protocol):
    """The part of onnxruntime's ``NodeArg`` that is read."""

    name: str
    type: str
    shape: Sequence[Any]


@dataclass(frozen=True)
class InputSpec:
    """One input of a model.

    Attributes:
        name: as in the graph.
        dtype: of the elements.
        shape: a number, a symbolic name or ``None`` per axis, () of a single number; ``None`` where even
            the rank is open.
    """

    name: str
    dtype: np.dtype[Any]
    shape: Shape | None

    @classmethod
    def of(cls, argument: Argument, *, is_scalar: bool = False) -> InputSpec:
        """From onnxruntime's ``NodeArg``, whose empty shape may mean a scalar or an unknown rank.

        Args:
            argument: an input of a session.
            is_scalar: whether the model declares it as a single number.

        Raises:
            ModelError: the input is not a tensor of numbers.
        """
        element = argument.type.removeprefix("tensor(").removesuffix(")")
        if element not in _DTYPES or not argument.type.startswith("tensor("):
            raise ModelError(
                f"The input {argument.name!r} is a {argument.type}, and only tensors of numbers "
                "can be fed: make it a constant, or cut the model behind it."
            )
        shape = tuple(None if isinstance(d, int) and d < 1 else d for d in argument.shape)
        return cls(argument.name, np.dtype(_DTYPES[element]), shape or (() if is_scalar else None))

    @property
    def batch(self) -> int:
        """Rows a run takes: the leading dimension where it is fixed, else 1."""
        return self.shape[0] if self.shape and isinstance(self.shape[0], int) else 1

    def __str__(self) -> str:
        return f"{self.name!r} ({self.dtype} {shape_text(self.shape)})"


def resolve(inputs: Sequence[InputSpec], shapes: Mapping[str, tuple[int, ...]]) -> tuple[InputSpec, ...]:
    """Inputs with the shapes a user fixed; a symbol fixed for one input holds for the others.

    Raises:
        OptionError: a shape names no input, or contradicts the model.
    """
    by_name = {spec.name: spec for spec in inputs}
    found: dict[str, set[int]] = {}
    for name, shape in shapes.items():
        if name not in by_name:
            raise OptionError(f"--input-shape names {name!r}, but the inputs are {listing(by_name)}.")
        declared = by_name[name].shape
        if not _agrees(shape, declared) or any(size < 1 for size in shape):
            raise OptionError(
                f"--input-shape gives {name!r} the shape {shape_text(shape)}, but the model "
                f"declares {shape_text(declared)}: keep its rank and its fixed dimensions. To run it on "
                "other sizes, export it with them left open, or open them with onnx.tools.update_model_dims."
            )
        for symbol, size in zip(declared or (), shape, strict=False):
            if isinstance(symbol, str):
                found.setdefault(symbol, set()).add(size)
    sizes = {symbol: min(values) for symbol, values in found.items() if len(values) == 1}
    return tuple(_fixed(spec, shapes, sizes) for spec in inputs)


def _fixed(spec: InputSpec, shapes: Mapping[str, tuple[int, ...]], sizes: Mapping[str, int]) -> InputSpec:
    if spec.name in shapes:
        return replace(spec, shape=tuple(shapes[spec.name]))
    if spec.shape is None:
        return spec
    return replace(spec, shape=tuple(sizes.get(d, d) if isinstance(d, str) else d for d in spec.shape))


def columns(names: Iterable[str], specs: Sequence[InputSpec], where: str) -> dict[str, str]:
    """Input name → name of the array for it; a lone array serves a lone input whatever its name.

    Raises:
        DataError: an input has no array.
    """
    present = list(names)
    others = [name for name in present if name not in NOT_INPUTS]
    if len(specs) == len(others) == 1 and specs[0].name not in present:
        return {specs[0].name: others[0]}
    missing = [spec.name for spec in specs if spec.name not in present]
    if missing:
        raise DataError(
            f"{where}: there is no array for the input{'s' * (len(missing) > 1)} {listing(missing)}; "
            f"it holds {listing(present)} and the model needs {listing(s.name for s in specs)}: name the "
            "arrays after the inputs."
        )
    return {spec.name: spec.name for spec in specs}


def said_of_names(present: Iterable[str], names: Mapping[str, str], where: str) -> tuple[str, ...]:
    """Sentences on arrays that were left out, or taken for an input of another name.

    Args:
        present: names of the arrays.
        names: as :func:`columns` found them.
        where: the file, for the sentence.
    """
    notes = [
        f"The array {name!r} of {where} was taken for the input {spec!r}."
        for spec, name in names.items()
        if name != spec and name != "array"
    ]
    left = [name for name in present if name not in names.values() and name not in NOT_INPUTS]
    if left:
        notes.append(f"{where} holds {listing(left)} too, which the model has no input for: left out.")
    return tuple(notes)


def conform(value: ArrayLike, spec: InputSpec, where: str) -> np.ndarray:
    """A contiguous copy of ``value`` in the type of the input.

    Raises:
        DataError: shape, type or values do not fit.
    """
    array = as_array(value, f"{where}: array {spec.name!r}")
    check_header(array.shape, array.dtype, spec, where)
    if not array.size and not _may_be_empty(array.shape, spec):
        raise DataError(
            f"{where}: array {spec.name!r} is empty, of shape {array.shape}, where the input needs "
            f"{shape_text(spec.shape)}: leave the sample out."
        )
    with np.errstate(over="ignore"):
        cast = array.astype(spec.dtype, order="C")
    if spec.dtype.kind == "f":
        _check_finite(array, cast, spec, where)
    elif spec.dtype.kind in "iu" and array.size:
        low, high, info = int(array.min()), int(array.max()), np.iinfo(spec.dtype)
        if low < info.min or high > info.max:
            raise DataError(
                f"{where}: array {spec.name!r} holds numbers from {low} to {high}, which do not "
                f"fit the input's type {spec.dtype}: bring them into {info.min}..{info.max}."
            )
    return cast


def _may_be_empty(shape: tuple[int, ...], spec: InputSpec) -> bool:
    """Whether an array without numbers can be fed: of a sample or more, along axes the model leaves open."""
    declared = spec.shape or (None,) * len(shape)
    is_open = all(size > 0 or not isinstance(d, int) for size, d in zip(shape, declared, strict=True))
    return bool(shape) and shape[0] > 0 and is_open


def to_array(value: ArrayLike, what: str) -> np.ndarray:
    """``value`` as an array of any type.

    Raises:
        DataError: it is ragged, or not on the CPU.
    """
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{what} cannot become one array ({error}): make it rectangular.") from None


def as_array(value: ArrayLike, what: str) -> np.ndarray:
    """``value`` as an array of numbers; raises DataError where :func:`to_array` does, and for objects."""
    array = to_array(value, what)
    check_numbers(array.dtype, what)
    return array


def check_numbers(dtype: np.dtype[Any], what: str) -> None:
    """Raise DataError unless the type is one of numbers."""
    if dtype.kind not in "biuf":
        raise DataError(
            f"{what} is of type {dtype}, and only arrays of real numbers are read (never pickled "
            "objects): save it as float32 or as whole numbers."
        )


def check_header(
    shape: tuple[int, ...], dtype: np.dtype[Any], spec: InputSpec, where: str, name: str = ""
) -> None:
    """Raise DataError unless an array of this shape and type can be fed to the input."""
    what = f"{where}: array {(name or spec.name)!r}"
    check_numbers(dtype, what)
    if not _agrees(shape, spec.shape):
        raise DataError(
            f"{what} has the shape {shape_text(shape)}, but the input {spec.name!r} needs "
            f"{shape_text(spec.shape)}: {_mended(shape, spec.shape)}."
        )
    if dtype.kind not in _CASTABLE[spec.dtype.kind]:
        raise DataError(
            f"{what} is {dtype}, but the input {spec.name!r} needs {spec.dtype}, which it cannot "
            f"become without loss: convert it with array.astype({str(spec.dtype)!r}) if that is meant."
        )


def _mended(shape: tuple[int, ...], declared: Shape | None) -> str:
    """How an array of the wrong shape might be put right."""
    for order in ((0, 3, 1, 2), (0, 2, 3, 1)):
        if len(shape) == 4 and _agrees([shape[axis] for axis in order], declared):
            return f"change its layout with array.transpose{order}"
    if declared and len(shape) == len(declared) - 1:
        return "add the axis it lacks, for samples (array[None]) or for channels (array[:, None])"
    return "give arrays of that shape"


def _check_finite(array: np.ndarray, cast: np.ndarray, spec: InputSpec, where: str) -> None:
    wrong = ~np.isfinite(cast)
    if not wrong.any():
        return
    first = tuple(int(axis[0]) for axis in np.nonzero(wrong))
    if np.isfinite(array[first]):
        what, mend = f"too large for {spec.dtype}", "scale the array down"
    else:
        what, mend = "NaN or infinite", "clean the array or leave the sample out"
    raise DataError(
        f"{where}: array {spec.name!r} holds {np.count_nonzero(wrong)} values that are {what}, the "
        f"first at {first}: {mend}."
    )


def _agrees(shape: Sequence[int], declared: Shape | None) -> bool:
    return declared is None or (
        len(shape) == len(declared)
        and all(not isinstance(d, int) or s == d for s, d in zip(shape, declared, strict=True))
    )


def shape_text(shape: Iterable[int | str | None] | None) -> str:
    """``(batch, 3, ?, ?)``, or ``of any shape``."""
    if shape is None:
        return "of any shape"
    return f"({', '.join('?' if d is None else str(d) for d in shape)})"


def brief(error: BaseException) -> str:
    """The first line of an error's text, shortened; its type where it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return textwrap.shorten(lines[0], 200, placeholder=" …").rstrip(".")


def listing(names: Iterable[str]) -> str:
    """``'a', 'b'``, shortened where there are many."""
    ordered = list(Counter(names))
    shown = ", ".join(map(repr, ordered[:8]))
    return shown + f" and {len(ordered) - 8} more" if len(ordered) > 8 else shown or "none"
