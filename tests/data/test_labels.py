"""Tables of labels: which column, and which row belongs to which image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sepfactor.data import Feeds, InputSpec, open_feeds
from sepfactor.errors import DataError

SPEC = [InputSpec("x", np.dtype("f4"), (None, 3, 4, 4))]
NAMES = ("cat_1.JPEG", "cat_2.JPEG", "sub/dog_1.JPEG", "sub/dog_2.JPEG")
TRUE = [3, 7, 3, 5]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path, "JPEG")
    return tmp_path / "photos"


def read(folder: Path, text: str) -> Feeds:
    table = folder.parent / "labels.csv"
    table.write_text(text, encoding="utf-8")
    return open_feeds(folder, SPEC, labels=table)


def rows(names: list[str], labels: list[int], order: list[int], line: str = "{},{}\n") -> str:
    return "".join(line.format(names[n], labels[n]) for n in order)


FORMS = {
    "paths": lambda name: name,
    "file names": lambda name: Path(name).name,
    "stems": lambda name: Path(name).stem,
    "paths without a suffix": lambda name: name.removesuffix(".JPEG"),
    "paths from above": lambda name: f"photos/{name}",
    "paths of Windows": lambda name: ".\\" + name.replace("/", "\\"),
}
HEADS = (
    "",
    "ImageId,Class\n",
    "image_id,label\n",
    "filename,category_id\n",
    "something,else\n",
    "Id,Ground Truth\n",
)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("head", HEADS)
def test_images_are_found_by_name_in_any_order(folder: Path, form, head: str) -> None:
    found = read(folder, head + rows([form(name) for name in NAMES], TRUE, [2, 0, 3, 1]))
    assert found.labels.tolist() == TRUE
    assert any("matched by name" in note for note in found.notes)


def test_the_column_may_stand_first_and_among_others(folder: Path) -> None:
    stems = [Path(name).stem for name in NAMES]
    text = "label,width,stem,score\n" + "".join(f"{TRUE[n]},{100 + n},{stems[n]},0.5\n" for n in (3, 1, 2, 0))
    found = read(folder, text)
    assert found.labels.tolist() == TRUE
    assert any("'label'" in note for note in found.notes)


@pytest.mark.parametrize(
    "text",
    [
        "ImageId,Class\nbird_1,3\nbird_2,7\nbird_3,3\nbird_4,5\n",  # of other images, as many
        "ImageId,Class\ncat_1,3\ncat_2,7\ndog_1,3\nbird,5\n",
        "file,label\ncat_1.png,3\ncat_2.png,7\ndog_1.png,3\ndog_2.png,5\n",  # of other files
        "id,label\n17,3\n4,7\n9,3\n2,5\n",
    ],
)
def test_names_that_are_not_of_these_images_are_refused(folder: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"no row for '.*'"):
        read(folder, text)


def test_several_columns_that_may_be_labels_are_refused(folder: Path) -> None:
    names = [Path(name).stem for name in NAMES]
    for head in ("name,coarse,fine\n", "name,class,target\n", "name,label,labels\n"):
        text = head + "".join(
            f"{name},{n % 2 + 4},{label}\n" for n, (name, label) in enumerate(zip(names, TRUE, strict=True))
        )
        with pytest.raises(DataError, match="may all be labels"):
            read(folder, text)


@pytest.mark.parametrize(
    "text", ["3\n7\n3\n5\n", "index,label\n0,3\n1,7\n2,3\n3,5\n", "1 3\n2 7\n3 3\n4 5\n"]
)
def test_without_names_rows_are_in_the_order_of_the_images_and_that_is_said(folder: Path, text: str) -> None:
    found = read(folder, text)
    assert found.labels.tolist() == TRUE
    assert any("row by row" in note for note in found.notes)


@given(st.permutations(range(6)), st.lists(st.integers(0, 9), min_size=6, max_size=6))
def test_numbers_may_be_names(tmp_path_factory: pytest.TempPathFactory, order, labels) -> None:
    folder = tmp_path_factory.mktemp("numbers") / "photos"
    folder.mkdir()
    for number in range(6):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / f"{number}.png")
    text = "id,label\n" + rows([str(n) for n in range(6)], labels, list(order))
    assert read(folder, text).labels.tolist() == labels
