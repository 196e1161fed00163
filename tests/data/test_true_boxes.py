"""Boxes as labels: every form says the same, and they are where the network sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sepfactor.data import Feeds, InputSpec, Preprocessing, open_feeds
from sepfactor.errors import DataError, OptionError

CUT = InputSpec("x", np.dtype(np.float32), ("batch", 3, 40, 40))
OPEN = InputSpec("x", np.dtype(np.float32), ("batch", 3, "h", "w"))
FOUR = InputSpec("x", np.dtype(np.float32), (2, 3, 40, 40))

WIDTH, HEIGHT = 120, 60
BOXES = {
    "a.png": [((50, 20, 70, 40), 7), ((0, 0, 20, 20), 3)],  # the second is cut away
    "b.png": [((85, 10, 103, 30), 3)],  # is cut through
    "sub/c.png": [],
    "d.png": [((40, 10, 60, 50), 9)],
}
"""x0, y0, x1, y1 of images of 120 × 60, which become 80 × 40, and of them the middle 40."""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images" / "sub").mkdir(parents=True)
    for name in BOXES:
        Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / name)
    return tmp_path / "images"


def coco(folder: Path, **changes: Any) -> Path:
    entries = [{"id": 10 + k, "file_name": name} for k, name in enumerate(BOXES)]
    annotations = [
        {"image_id": 10 + k, "category_id": label, "bbox": [x, y, x1 - x, y1 - y]}
        for k, boxes in enumerate(BOXES.values())
        for (x, y, x1, y1), label in boxes
    ]
    categories = [{"id": label} for label in (3, 5, 7, 9)]
    document = {"images": entries, "annotations": annotations, "categories": categories, **changes}
    (folder / "boxes.json").write_text(json.dumps(document))
    return folder / "boxes.json"


def yolo(folder: Path) -> Path:
    for name, boxes in BOXES.items():
        file = (folder / "labels" / name).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            f"{label} {(x + x1) / 2 / WIDTH} {(y + y1) / 2 / HEIGHT} {(x1 - x) / WIDTH} {(y1 - y) / HEIGHT}"
            for (x, y, x1, y1), label in boxes
        ]
        if lines:
            file.write_text("\n".join(lines) + "\n")
    (folder / "labels" / "classes.txt").write_text("cat\ndog\n")
    return folder / "labels"


def arrays(folder: Path) -> Path:
    order = sorted(BOXES)
    every = [(k, box, label) for k, name in enumerate(order) for box, label in BOXES[name]]
    samples, boxes, classes = zip(*every, strict=True)
    np.savez(
        folder / "boxes.npz", boxes=np.array(boxes), samples=np.array(samples), classes=np.array(classes)
    )
    return folder / "boxes.npz"


def given(feeds: Feeds) -> list[np.ndarray]:
    assert feeds.boxes is not None
    return [*feeds.boxes.ravel()]


@pytest.mark.parametrize("form", [coco, yolo, arrays])
def test_every_form_says_where_the_network_sees_them(
    images: Path, tmp_path: Path, form: Callable[[Path], Path]
) -> None:
    feeds = open_feeds(str(images), [CUT], labels=form(tmp_path))
    a, b, d, c = given(feeds)  # files are sorted
    factor, left = 2 / 3, 20
    np.testing.assert_allclose(
        a[:, :4], [[50 * factor - left, 20 * factor, 70 * factor - left, 40 * factor]], 1e-6
    )
    assert (a[0, 5], a[0, 6]) == (7, 0)
    assert b[0, 6] == 1  # more than half of it is cut away
    assert b[0, 2] == 40
    assert len(c) == 0
    assert d[0, 5] == 9
    assert feeds.labels is None
    assert any("4 boxes" in note or "3 boxes" in note for note in feeds.notes)


@pytest.mark.parametrize("form", [coco, yolo, arrays])
@pytest.mark.parametrize("size", [(40, 40), (61, 50), (60, 300)])
def test_boxes_lie_on_what_they_are_of_in_a_letterbox(
    images: Path, tmp_path: Path, form: Callable[[Path], Path], size: tuple[int, int]
) -> None:
    """A picture that is white where its box is: so is what the network sees of it."""
    for name, boxes in BOXES.items():
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for (x0, y0, x1, y1), _ in boxes[:1]:
            pixels[y0:y1, x0:x1] = 255
        Image.fromarray(pixels).save(images / name)
    spec = InputSpec("x", np.dtype(np.float32), ("batch", 3, *size))
    settings = Preprocessing(letterbox=True, border=0)
    feeds = open_feeds(str(images), [spec], labels=form(tmp_path), preprocessing=settings)
    for feed, boxes in zip(feeds, given(feeds), strict=True):
        assert not boxes[:, 6].any()  # nothing is cut away
        if len(boxes):
            bright = feed["x"][0, 0]
            x0, y0, x1, y1 = boxes[0, :4]
            assert bright.sum() == pytest.approx((x1 - x0) * (y1 - y0), rel=0.02)
            y, x = np.mgrid[: size[0], : size[1]] + 0.5
            centre = [(bright * along).sum() / bright.sum() for along in (x, y)]
            assert centre == pytest.approx([(x0 + x1) / 2, (y0 + y1) / 2], abs=0.15)


def test_cocos_classes_are_numbered_by_their_categories(images: Path, tmp_path: Path) -> None:
    a, *_ = given(open_feeds(str(images), [CUT], labels=coco(tmp_path)))
    assert a[0, 4] == 2  # of 3, 5, 7, 9


def test_an_image_that_is_not_cut_keeps_its_pixels(images: Path, tmp_path: Path) -> None:
    a, b, _, _ = given(open_feeds(str(images), [OPEN], labels=coco(tmp_path)))
    np.testing.assert_array_equal(a[:, :4], [box for box, _ in BOXES["a.png"]])
    assert not a[:, 6].any()
    assert not b[:, 6].any()


def test_a_picture_on_its_side_is_turned_first(images: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (HEIGHT, WIDTH)).save(images / "a.png", exif=exif)
    a, *_ = given(open_feeds(str(images), [OPEN], labels=coco(tmp_path)))
    np.testing.assert_array_equal(a[:, :4], [box for box, _ in BOXES["a.png"]])


def test_boxes_stay_with_their_runs(images: Path, tmp_path: Path) -> None:
    feeds = open_feeds(str(images), [CUT], labels=coco(tmp_path))
    turned = given(feeds[::-1])
    for one, other in zip(given(feeds), turned[::-1], strict=True):
        np.testing.assert_array_equal(one, other)
    pairs = open_feeds(str(images), [FOUR], labels=coco(tmp_path))
    assert pairs.boxes is not None
    assert pairs.boxes.shape == (2, 2)


def test_arrays_take_them_in_their_order(tmp_path: Path) -> None:
    data = {"x": np.zeros((4, 3, 40, 40), np.float32)}
    for labels in (coco(tmp_path), arrays(tmp_path)):
        found = given(open_feeds(data, [CUT], labels=labels))
        assert sorted(len(one) for one in found) == [0, 1, 1, 2]


def test_crowds_are_not_asked_for(images: Path, tmp_path: Path) -> None:
    crowd = [{"image_id": 10, "category_id": 3, "bbox": [50, 20, 20, 20], "iscrowd": 1}]
    a, *_ = given(open_feeds(str(images), [CUT], labels=coco(tmp_path, annotations=crowd)))
    assert a[0, 6] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, "no list 'images'"),
        ({"annotations": [3]}, "no list 'annotations'"),
        ({"annotations": [{"image_id": 99, "category_id": 1, "bbox": [0, 0, 1, 1]}]}, "image 99"),
        ({"annotations": [{"image_id": 10, "category_id": 1, "bbox": [0, 0, 1]}]}, "x, y, width and height"),
        ({"annotations": [{"image_id": 10, "category_id": 1, "bbox": [0, 0, -1, 1]}]}, "x, y, width"),
        (
            {"annotations": [{"image_id": 10, "category_id": "cat", "bbox": [0, 0, 1, 1]}]},
            "not a whole number",
        ),
        ({"annotations": []}, "no box lies in any"),
    ],
)
def test_what_is_no_coco_is_refused(
    images: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        open_feeds(str(images), [CUT], labels=coco(tmp_path, **changes))


def test_json_that_is_none_and_images_that_are_not_named(images: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        open_feeds(str(images), [CUT], labels=tmp_path / "bad.json")
    Image.new("RGB", (9, 9)).save(images / "z.png")
    with pytest.raises(DataError, match=r"no entry for the image 'z\.png'"):
        open_feeds(str(images), [CUT], labels=coco(tmp_path))


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.5", "cat 0 0 1 1", "0 20 20 40 40", "-1 0.5 0.5 0.5 0.5"])
def test_lines_that_are_no_yolo_are_refused(images: Path, tmp_path: Path, line: str) -> None:
    folder = yolo(tmp_path)
    (folder / "a.txt").write_text(line)
    with pytest.raises(DataError, match=r"a\.txt: line 1"):
        open_feeds(str(images), [CUT], labels=folder)


def test_yolo_goes_by_names(images: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "y.txt").write_text("0 0.5 0.5 0.5 0.5")
    with pytest.raises(DataError, match="no file in it"):
        open_feeds(str(images), [CUT], labels=tmp_path / "other")
    with pytest.raises(DataError, match="names of images"):
        open_feeds({"x": np.zeros((4, 3, 40, 40), np.float32)}, [CUT], labels=yolo(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": np.array([0, 1, 2, 4])}, "samples go from 0 to 3"),
        ({"boxes": np.zeros((3, 4))}, r"\(3, 4\) for 4 samples"),
        ({"boxes": np.array([[5.0, 5, 1, 9]] * 4)}, "second corner behind the first"),
        ({"boxes": np.full((4, 4), np.nan)}, "finite"),
        ({"samples": None}, "no array 'samples'"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    images: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with np.load(arrays(tmp_path)) as file:
        kept = {name: change.get(name, file[name]) for name in file.files}
    np.savez(tmp_path / "wrong.npz", **{name: value for name, value in kept.items() if value is not None})
    with pytest.raises(DataError, match=message):
        open_feeds(str(images), [CUT], labels=tmp_path / "wrong.npz")


def test_made_up_inputs_have_none(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="without data"):
        open_feeds(None, [CUT], labels=coco(tmp_path))


def test_of_other_data_they_count_only_by_name(images: Path, tmp_path: Path) -> None:
    named = open_feeds(str(images), [CUT], labels=yolo(tmp_path), labels_by_name=True)
    assert named.boxes is not None
    data = {"x": np.zeros((4, 3, 40, 40), np.float32)}
    assert open_feeds(data, [CUT], labels=arrays(tmp_path), labels_by_name=True).boxes is None
    Image.new("RGB", (9, 9)).save(images / "z.png")
    assert open_feeds(str(images), [CUT], labels=coco(tmp_path), labels_by_name=True).boxes is None
