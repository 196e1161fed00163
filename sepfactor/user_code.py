"""Functions of the user's own: how they are found and called, and told as theirs where they fail.

What they raise, be it ``sys.exit``, ends in a :class:`~sepfactor.errors.UserCodeError` that names the
function and the place, and never as a fault of a model, of a disk or of sepfactor.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial, wraps
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, ParamSpec, TypeVar

import numpy as np

from sepfactor.errors import OptionError, SepfactorError, UserCodeError

_PACKAGE = str(Path(__file__).parent)

P = ParamSpec("P")
T = TypeVar("T")

Named = Mapping[str, np.ndarray]
Metric = Callable[[Named, Named], float]
"""Outputs and inputs of one run, by name → score, higher is better."""


def names_function(source: object) -> bool:
    """Whether data are named as code to be run, ``file.py:function`` or ``package.module:function``.

    Who names data so must be the user, and never a file that came with the network.
    """
    if not isinstance(source, str):
        return False
    place, colon, function = source.rpartition(":")
    is_module = all(part.isidentifier() for part in place.split("."))
    is_named = bool(colon) and function.isidentifier() and (place.endswith(".py") or is_module)
    return is_named and not ("\0" not in source and Path(source).exists())


def load_function(text: str) -> Callable[..., object]:
    """The function a user names as ``file.py:function`` or ``package.module:function``.

    Raises:
        OptionError: the text is not of that form.
        UserCodeError: what defines it cannot be imported, or there is none of that name.
    """
    place, colon, name = text.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise OptionError(f"{text!r} names no function. Say file.py:function or package.module:function.")
    with at_home(text), as_users(text, "cannot be imported", str(Path(place).resolve())):
        module = _module(place)
    function = getattr(module, name, None)
    if not callable(function):
        raise UserCodeError(f"{text}: {place} defines no function {name!r}. Name one that it does.")
    return function  # type: ignore[no-any-return]  # a module's attributes are Any


def _module(place: str) -> ModuleType:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place).resolve()
    spec = importlib.util.spec_from_file_location(f"_sepfactor_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no loader for {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@contextmanager
def at_home(text: str) -> Iterator[None]:
    """Let a user's file import its neighbours, as it could if it were run; ``text`` names its function."""
    place = text.rpartition(":")[0]
    folder = str(Path(place).resolve().parent if place.endswith(".py") else Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):  # their code may have removed it
            sys.path.remove(folder)


@contextmanager
def as_users(name: str, what: str = "failed", file: str = "", line: int | None = None) -> Iterator[None]:
    """Whatever code of the user's raises, as an error of theirs.

    Args:
        name: what they call it.
        what: became of it.
        file: that holds it, where that is known; else the first of no ours that a traceback gets to.
        line: of its definition, named where the traceback does not get there.

    Raises:
        UserCodeError: anything was raised but what sepfactor says itself, a Ctrl-C, or the want of memory.
    """
    try:
        yield
    except (SepfactorError, KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        said = f": {error}" if str(error) else ""
        raise UserCodeError(
            f"{name} {what} ({type(error).__name__}{said}){_place(error, file, line)}. This is code of your "
            "own: mend it there."
        ) from error


def _place(error: BaseException, file: str, line: int | None) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f" at {error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith((_PACKAGE, "<"))]
    file = file or (theirs[0].filename if theirs else "")
    lines = [frame.lineno for frame in theirs if frame.filename == file]
    found = lines[-1] if lines else line
    return f" at {file}, line {found}" if found is not None else ""


def guarded(function: Callable[P, T], name: str = "") -> Callable[P, T]:
    """A function of the user's that, where it fails, says that it was theirs, and where.

    Args:
        function: anything that can be called.
        name: what they call it; else that of its definition.
    """
    file, line = _definition(function)
    called = name or name_of(function)

    @wraps(function, updated=())
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with as_users(called, file=file, line=line):
            return function(*args, **kwargs)

    return call


def name_of(function: object) -> str:
    """What errors call a function."""
    kind = type(function)
    name = getattr(function, "__qualname__", f"{kind.__qualname__} object")
    return f"{getattr(function, '__module__', None) or kind.__module__}.{name}"


def _definition(function: object) -> tuple[str, int | None]:
    """File and line where it begins, as far as can be known."""
    while isinstance(function, partial):
        function = function.func
    plain = inspect.unwrap(function) if callable(function) else function
    for one in (plain, getattr(plain, "__func__", None), vars(type(plain)).get("__call__")):
        code = getattr(one, "__code__", None)
        if isinstance(code, CodeType) and not code.co_filename.startswith(_PACKAGE):
            return code.co_filename, code.co_firstlineno
    return "", None


def open_metric(metric: object) -> Metric | None:
    """A user's metric, ready to be called: it takes outputs and inputs, and gives a finite number.

    Args:
        metric: a function, or how it is named; None is none.

    Raises:
        OptionError: it is no function, and no text that could name one.
        UserCodeError: it cannot be imported, or cannot be called with two arguments.
    """
    if metric is None:
        return None
    name = metric if isinstance(metric, str) else ""
    function = load_function(metric) if isinstance(metric, str) else metric
    if not callable(function):
        raise OptionError(
            f"The metric is a {type(function).__name__}. Give a function (outputs, inputs) → score, or "
            "file.py:function."
        )
    name = name or name_of(function)
    _check_arity(function, name)
    call = guarded(function, name)
    file, line = _definition(function)
    where = f" at {file}, line {line}" if line is not None else ""

    def score(outputs: Named, inputs: Named) -> float:
        copies = ({key: np.array(value) for key, value in named.items()} for named in (outputs, inputs))
        found: object = call(*copies)
        number = _number(found)
        if number is None or not math.isfinite(number):
            said = repr(found) if number is not None else f"a {type(found).__name__}"
            raise UserCodeError(
                f"{name}{where} gave {said}, where a metric must give one finite number, higher for better. "
                "This is code of your own: mend it there."
            )
        return number

    return score


def _check_arity(function: Callable[..., Any], name: str) -> None:
    with suppress(ValueError):  # some built-in functions do not say
        signature = inspect.signature(function)
        try:
            signature.bind(None, None)
        except TypeError as error:
            file, line = _definition(function)
            where = f" at {file}, line {line}" if line is not None else ""
            raise UserCodeError(
                f"{name}{where} cannot be called as a metric is, with outputs and inputs, both "
                f"{{name: array}} ({error}). This is code of your own: mend it there."
            ) from None


def _number(value: object) -> float | None:
    """A real number as a float, be it of numpy or in an array of no axes; None for anything else."""
    if isinstance(value, str | bytes | complex) or value is None or getattr(value, "shape", ()) != ():
        return None
    dtype = getattr(value, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind not in "biuf":
        return None
    with suppress(TypeError, ValueError, OverflowError):
        return float(value)  # type: ignore[arg-type]  # what has no float raises
    return None
