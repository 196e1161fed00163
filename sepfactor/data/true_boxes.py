"""Boxes that are known to be right: labels of detectors, in the forms that people have them in.

=====================  ===============================================================================
``.json``              COCO: ``images``, ``annotations`` with ``bbox`` x, y, width, height in pixels
a folder of ``.txt``   YOLO: a file an image, a line a box: class, then centre x, y, width and height as
                       shares of the image
``.npz``               ``boxes (n, 4)`` x0, y0, x1, y1 in pixels, ``samples (n,)`` which sample each lies
                       in, from 0, and ``classes (n,)``
=====================  ===============================================================================

Pixels are those of the image as it is, which is then seen as the network sees it: resized and cut. What is
cut off by more than half is not asked for, nor is what COCO calls a crowd. Pixels of arrays are those of the
array.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sepfactor.data.arrays import Table, read_table
from sepfactor.data.feeds import Frame, Source
from sepfactor.data.ground_truth import entries_of_runs, refuse_synthetic
from sepfactor.data.inputs import brief, listing
from sepfactor.data.labels import finder
from sepfactor.errors import DataError
from sepfactor.files import read_text
from sepfactor.words import plural

Box = tuple[float, float, float, float, float, float, float]
"""x0, y0, x1, y1; the class, as a number from 0; the same as the file has it; whether it is not asked for."""

WIDTH = 7

_BOXES, _SAMPLES, _CLASSES = "boxes", "samples", "classes"
_LEFT = 0.5
"""Of a box that the image was cut through, so much must be left to be asked for."""


def are_boxes(given: object) -> bool:
    """Whether labels are a file or a folder of boxes."""
    if not isinstance(given, str | os.PathLike):
        return False
    path = Path(given)
    if path.suffix.lower() == ".npz" and path.is_file():
        return _BOXES in read_table(path, "a .npz file").headers
    return path.suffix.lower() == ".json" or path.is_dir()


def boxes_of(
    source: Source, given: str | os.PathLike[str], *, by_name: bool = False
) -> tuple[NDArray[np.object_] | None, tuple[str, ...]]:
    """``(runs,)`` or ``(runs, batch)`` arrays ``(n, 7)`` of boxes, see :data:`Box`, in pixels of what is fed.

    With a sentence on how they were matched to the samples.

    Args:
        source: the data.
        given: where the boxes are.
        by_name: whether they were meant for other data: then they count only if they name these images.

    Raises:
        DataError: they cannot be read, or do not fit the samples.
        OptionError: the data are made up.
    """
    path = Path(given)
    if by_name and not source.names:
        return None, ()
    refuse_synthetic(source, "Labels")
    read = _read_yolo if path.is_dir() else _read_npz if path.suffix.lower() == ".npz" else _read_coco
    try:
        found = read(path, source)
    except DataError:  # is said of the data that they were meant for
        if by_name:
            return None, ()
        raise
    frames = source.frame
    seen = [boxes if frames is None else _seen(boxes, frames(k)) for k, boxes in enumerate(found)]
    values = np.empty(len(seen), object)
    values[:] = seen
    count = sum(len(boxes) for boxes in seen)
    if not count:
        raise DataError(
            f"{path}: no box lies in any of the {source.samples} samples: do these belong together?"
        )
    said = f"Labels are {plural(count, 'box', 'boxes')} of {path} on {plural(len(seen), 'sample')}."
    return values[entries_of_runs(values, source, str(path), "list of boxe")], (said,)


def _array(boxes: Iterable[Box]) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = np.array(list(boxes), np.float64).reshape(-1, WIDTH)
    return rows


def _seen(boxes: NDArray[np.float64], frame: Frame) -> NDArray[np.float64]:
    """Boxes of an image as they are in what the network sees of it."""
    seen = boxes.copy()
    for axis in (0, 1):
        seen[:, axis:4:2] = seen[:, axis:4:2] * frame.scale[axis] - frame.offset[axis]
    whole = np.prod(seen[:, 2:4] - seen[:, :2], axis=1)
    for axis in (0, 1):
        seen[:, axis:4:2] = np.clip(seen[:, axis:4:2], 0, frame.size[axis])
    left = np.prod(seen[:, 2:4] - seen[:, :2], axis=1)
    seen[left < _LEFT * whole, 6] = 1.0
    in_sight: NDArray[np.float64] = seen[left > 0]
    return in_sight


# COCO --------------------------------------------------------------------------------------------


def _read_coco(path: Path, source: Source) -> Sequence[NDArray[np.float64]]:
    try:
        document = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: the labels cannot be read ({brief(error)}): give COCO's JSON.") from None
    images, annotations = (_list(document, name, path) for name in ("images", "annotations"))
    categories = _list(document, "categories", path) if "categories" in document else []
    known = {_number(one, "id", path, "category") for one in categories}
    known |= {_number(one, "category_id", path, "annotation") for one in annotations}
    index = {number: place for place, number in enumerate(sorted(known))}
    by_image: dict[Any, list[Box]] = {_id(one, "id", path, "image"): [] for one in images}
    for one in annotations:
        at = _id(one, "image_id", path, "annotation")
        if at not in by_image:
            raise DataError(f"{path}: an annotation is of the image {at!r}, which is not among the images.")
        x, y, width, height = _bbox(one, path)
        number = _number(one, "category_id", path, "annotation")
        crowd = float(bool(one.get("iscrowd", 0)))
        by_image[at].append((x, y, x + width, y + height, index[number], number, crowd))
    if not source.names:
        return [_array(boxes) for boxes in by_image.values()]  # in the order of the file
    named = {str(one.get("file_name", "")): by_image[_id(one, "id", path, "image")] for one in images}
    return _by_name(named, source, path)


def _list(document: object, name: str, path: Path) -> list[Mapping[str, Any]]:
    found = document.get(name) if isinstance(document, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise DataError(
            f"{path}: there is no list {name!r}, as COCO's JSON of boxes has it: images (id, file_name), "
            "annotations (image_id, category_id, bbox) and categories (id)."
        )
    return found


def _id(one: Mapping[str, Any], key: str, path: Path, what: str) -> int | str:
    found = one.get(key)
    if not isinstance(found, int | str):
        raise DataError(
            f"{path}: an entry for an {what} has no {key!r}: {brief(ValueError(str(dict(one))))}."
        )
    return found


def _number(one: Mapping[str, Any], key: str, path: Path, what: str) -> int:
    found = one.get(key)
    if not isinstance(found, int) or isinstance(found, bool) or abs(found) > 2**31:
        raise DataError(
            f"{path}: the {key!r} of a {what} is {found!r}, which is not a whole number: mend it."
        )
    return found


def _bbox(one: Mapping[str, Any], path: Path) -> tuple[float, float, float, float]:
    try:
        box = np.array(one.get("bbox"), np.float64)
    except (TypeError, ValueError):
        box = np.zeros(0)
    if box.shape != (4,) or not np.isfinite(box).all() or (box[2:] < 0).any():
        raise DataError(
            f"{path}: a 'bbox' is {str(one.get('bbox'))[:60]}: give x, y, width and height in pixels."
        )
    x, y, width, height = box.tolist()
    return x, y, width, height


# YOLO --------------------------------------------------------------------------------------------


def _read_yolo(folder: Path, source: Source) -> Sequence[NDArray[np.float64]]:
    frames = source.frame
    if frames is None or not source.names:
        raise DataError(
            f"{folder}: YOLO's files go by the names of images, and {source.origin} holds none: give COCO's "
            "JSON, or a .npz file with boxes, samples and classes."
        )
    files = {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.txt"))
    }
    names = finder([*files], source)
    found = []
    for number, image in enumerate(source.names):
        name = names.find(image)
        found.append(_array([]) if name is None else _yolo_boxes(files[name], frames(number)))
    if not any(map(len, found)):
        raise DataError(
            f"{folder}: no file in it is of an image of {source.origin}, such as "
            f"{Path(source.names[0]).with_suffix('.txt')}; it holds {listing([*files][:2])}."
        )
    return found


def _yolo_boxes(file: Path, frame: Frame) -> NDArray[np.float64]:
    try:
        lines = read_text(file).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: the labels cannot be read ({brief(error)}).") from None
    boxes: list[Box] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            label, *place = map(float, line.split())
        except ValueError:
            label, place = -1.0, []
        if len(place) not in (4, 5) or label < 0 or label % 1 or not all(0 <= one <= 1 for one in place):
            raise DataError(
                f"{file}: line {number} is {line[:60]!r}: give a class from 0, then centre x, y, width and "
                "height as shares of the image, from 0 to 1."
            )
        x, width = (frame.picture[0] * place[k] for k in (0, 2))
        y, height = (frame.picture[1] * place[k] for k in (1, 3))
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        boxes.append((*corners, label, label, 0.0))
    return _array(boxes)


# Arrays ------------------------------------------------------------------------------------------


def _read_npz(path: Path, source: Source) -> Sequence[NDArray[np.float64]]:
    table = read_table(path, "a .npz file")
    if _SAMPLES not in table.headers:
        raise DataError(
            f"{path}: there are {_BOXES!r}, but no array {_SAMPLES!r}: say which sample each lies in."
        )
    boxes, samples = _floats(table, _BOXES), _floats(table, _SAMPLES).reshape(-1)
    has_classes = _CLASSES in table.headers
    classes = _floats(table, _CLASSES).reshape(-1) if has_classes else np.zeros(len(samples))
    if (
        boxes.shape != (len(samples), 4)
        or len(classes) != len(samples)
        or (boxes[:, 2:] < boxes[:, :2]).any()
    ):
        raise DataError(
            f"{path}: boxes of shape {boxes.shape} for {len(samples)} samples and {len(classes)} classes: "
            "give (n, 4) x0, y0, x1, y1 in pixels, the second corner behind the first, and n of the others."
        )
    if (samples % 1).any() or (classes % 1).any() or (samples < 0).any() or (samples >= source.samples).any():
        raise DataError(
            f"{path}: {_SAMPLES!r} and {_CLASSES!r} must be whole numbers, and samples go from 0 to "
            f"{source.samples - 1} in {source.origin}."
        )
    rows = np.column_stack([boxes, classes, classes, np.zeros(len(classes))])
    return [rows[samples == number] for number in range(source.samples)]


def _floats(table: Table, name: str) -> NDArray[np.float64]:
    found = np.asarray(table.load(name))
    if found.dtype.kind not in "iuf" or not np.isfinite(found).all():
        raise DataError(f"{table.where}: array {name!r} must hold finite numbers.")
    return found.astype(np.float64)


def _by_name(named: Mapping[str, Sequence[Box]], source: Source, path: Path) -> list[NDArray[np.float64]]:
    names = finder([*named], source)
    found = []
    for image in source.names:
        name = names.find(image)
        if name is None:
            raise DataError(
                f"{path}: there is no entry for the image {image!r} of {source.origin}, and it names "
                f"{listing([*named][:2])}: add it, without annotations if it shows nothing."
            )
        found.append(_array(named[name]))
    return found
