"""Files that lie, ask for too much or are damaged: a DataError of one line, before any memory is taken."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sepfactor.data import InputSpec, Preprocessing, open_feeds
from sepfactor.errors import DataError

X = InputSpec("x", np.dtype(np.float32), ("batch", 2))
PICTURE = InputSpec("x", np.dtype(np.float32), ("batch", 3, None, None))


def refusal(data: object, spec: InputSpec = X, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        open_feeds(data, [spec], **options)[0]
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 600
    return text


def header(text: str, version: tuple[int, int] = (1, 0)) -> bytes:
    """The start of a .npy file, with whatever it is to say."""
    data = text.encode("latin-1")
    length = struct.pack("<H" if version == (1, 0) else "<I", len(data))
    return b"\x93NUMPY" + bytes(version) + length + data


HEADERS = {
    "a petabyte": "{'descr': '<f4', 'fortran_order': False, 'shape': (500000000000000, 2)}",
    "more than there is": "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 2)}",
    "a size that overflows": "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 2)}",
    "a size of many digits": "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 5000 + ", 2)}",
    "a negative size": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2)}",
    "a size that is text": "{'descr': '<f4', 'fortran_order': False, 'shape': ('a', 2)}",
    "a type unheard of": "{'descr': '<q9', 'fortran_order': False, 'shape': (1, 2)}",
    "a type of nothing": "{'descr': '|V0', 'fortran_order': False, 'shape': (1, 2)}",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1, 2)}",
    "a call": "__import__('os').getcwd()",
    "brackets": "[" * 3000,
    "nothing": "",
    "a dict that never ends": "{'descr': '<f4', 'fortran_order': ",
    "text of Python 2": "{'descr': '<f4', 'fortran_order': False, 'shape': (100L, 2L)}",
}


@pytest.mark.parametrize("text", HEADERS.values(), ids=HEADERS.keys())
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (9, 9)])
def test_headers(text: str, version: tuple[int, int], tmp_path: Path) -> None:
    data = header(text, version) + bytes(8)
    (tmp_path / "a.npy").write_bytes(data)
    refusal(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", data)
    assert "a.npz" in refusal(tmp_path / "a.npz")


def test_headers_as_python_2_wrote_them_are_read(tmp_path: Path) -> None:
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 2L)}"
    (tmp_path / "a.npy").write_bytes(header(text) + np.arange(6, dtype=np.float32).tobytes())
    feeds = open_feeds(tmp_path / "a.npy", [X])
    assert [feed["x"].tolist() for feed in feeds] == [[[0, 1]], [[2, 3]], [[4, 5]]]


def test_archives_that_lie_about_what_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros((3000, 2), np.float32))
    data = path.read_bytes()
    for size in (0, 1, 1000):  # in the directory of the archive, 24 bytes behind its mark
        at = data.index(b"PK\x01\x02") + 24
        path.write_bytes(data[:at] + struct.pack("<I", size) + data[at + 4 :])
        refusal(path)


def test_a_member_in_a_compression_unheard_of(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.zeros((3, 2), np.float32))
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = data.index(mark) + offset
        data[at : at + 2] = struct.pack("<H", 99)
    path.write_bytes(data)
    refusal(path)


@pytest.mark.parametrize(
    "text",
    [
        '0\n"' + "a" * 200_000 + '"\n',
        "0\n" + "9" * 25 + "\n",
        "0\n" + "9" * 5000 + "\n",
        "0\n-" + "9" * 25 + "\n",
        "name,label\na,1\n\0,\0\n",
        "0\n²\n",
        "\ufeff",
        "label\n--1\n",
    ],
    ids=[
        "a long field",
        "25 digits",
        "5000 digits",
        "-25 digits",
        "zeros",
        "superscript",
        "a mark",
        "two signs",
    ],
)
def test_label_tables(text: str, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(text, encoding="utf-8")
    assert "l.csv" in refusal(np.zeros((2, 2), np.float32), labels=tmp_path / "l.csv")


@pytest.mark.parametrize(
    "labels", [[1e300, 0], [np.inf, 0], [-1e19, 0], [np.nan, 0], np.array([2**64 - 1, 0])]
)
def test_labels_beyond_64_bits(labels: Any) -> None:
    assert "whole numbers" in refusal(np.zeros((2, 2), np.float32), labels=labels)


class TestPictures:
    @pytest.fixture
    def png(self) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(stream, "png")
        return stream.getvalue()

    @pytest.mark.parametrize("size", [(0, 8), (2**31 - 1, 2**31 - 1), (60_000, 60_000), (10_000, 10_000)])
    def test_sizes_that_are_not_true(self, size: tuple[int, int], png: bytes, tmp_path: Path) -> None:
        """The last is large enough for Pillow to warn, which nobody asked for."""
        (tmp_path / "a.png").write_bytes(png[:16] + struct.pack(">II", *size) + png[24:])
        assert "a.png" in refusal(tmp_path, PICTURE)

    @pytest.mark.parametrize("resize", [10**6, 10**12])
    def test_a_size_no_one_wants(self, resize: int, png: bytes, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(png)
        assert "smaller resize" in refusal(tmp_path, PICTURE, preprocessing=Preprocessing(resize=resize))

    def test_a_line_that_becomes_a_plane(self, tmp_path: Path) -> None:
        """In proportion, a picture of 1 by 30,000 pixels is cropped from one of 500 by 15,000,000."""
        Image.fromarray(np.zeros((1, 30_000), np.uint8)).save(tmp_path / "a.png")
        spec = InputSpec("x", np.dtype(np.float32), (1, 3, 500, 500))
        assert "more than" in refusal(tmp_path, spec)


@pytest.mark.parametrize("shape", [(1, 3, 2**20, 2**20), (2**40, 8), (1, 2**50, 4), (1, 1, 1, 1, 2**62)])
def test_inputs_too_large_to_make_up(shape: tuple[int, ...]) -> None:
    spec = InputSpec("x", np.dtype(np.float32), shape)
    assert "too many to make up" in refusal(None, spec)
