"""Every kind of source, and the message each failure ends in."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sepfactor.data import InputSpec, Preprocessing, open_feeds
from sepfactor.errors import DataError, OptionError, UserCodeError

X = InputSpec("x", np.dtype(np.float32), ("batch", 2))
Y = InputSpec("y", np.dtype(np.int64), ("batch",))
ROWS = np.arange(12.0).reshape(6, 2)


def values(feeds) -> np.ndarray:
    return np.concatenate([feed["x"] for feed in feeds])


# Arrays


def test_npz(tmp_path):
    path = tmp_path / "some.npz"
    np.savez_compressed(path, x=ROWS, y=np.arange(6), labels=np.arange(6)[:, None], names=["t"])
    feeds = open_feeds(path, [X, Y])
    assert feeds.description == f"{path}: 6 samples"
    assert not feeds.synthetic
    assert feeds.preprocessing is None
    assert feeds.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert feeds.labels.dtype == np.int64
    assert (values(feeds) == ROWS).all()
    assert [feed["y"].tolist() for feed in feeds] == [[n] for n in range(6)]
    assert open_feeds(str(path), [X]).description == feeds.description
    assert open_feeds(path, [X], labels=[9] * 6).labels.tolist() == [9] * 6


def test_a_lone_array_needs_no_name(tmp_path):
    np.savez(tmp_path / "a.npz", other=ROWS, labels=np.arange(6), target=ROWS)
    assert (values(open_feeds(tmp_path / "a.npz", [X])) == ROWS).all()
    np.save(tmp_path / "b.npy", ROWS)
    assert (values(open_feeds(tmp_path / "b.npy", [X])) == ROWS).all()
    assert (values(open_feeds(ROWS, [X])) == ROWS).all()
    np.savez(tmp_path / "c.npz", other=ROWS, more=ROWS)
    with pytest.raises(DataError, match=r"c\.npz.*input 'x'.*holds 'other', 'more'.*needs 'x'"):
        open_feeds(tmp_path / "c.npz", [X])
    with pytest.raises(DataError, match=r"b\.npy.*inputs 'x', 'y'.*holds 'b'"):
        open_feeds(tmp_path / "b.npy", [X, Y])


def test_an_input_called_labels_is_an_input():
    spec = InputSpec("labels", np.dtype(np.int64), (None,))
    assert open_feeds({"labels": np.arange(3)}, [spec]).labels is None


def test_a_scalar_input_takes_one_number_a_run():
    spec = InputSpec("x", np.dtype(np.float32), None)
    feeds = open_feeds({"x": np.arange(3)}, [spec], shapes={"x": ()})
    assert [feed["x"].shape for feed in feeds] == [()] * 3


def test_folder_of_arrays(tmp_path):
    np.savez(tmp_path / "b.npz", x=ROWS[3:], labels=[3, 4, 5])
    np.savez(tmp_path / "a.npz", x=ROWS[:3], labels=[0, 1, 2])
    (tmp_path / "readme.txt").write_text("not data")
    feeds = open_feeds(tmp_path, [X])
    assert feeds.description == f"{tmp_path}: 6 samples"
    assert (values(feeds) == ROWS).all()
    assert feeds.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert values(feeds.take([4, 0, 3, 1])).tolist() == ROWS[[4, 0, 3, 1]].tolist()
    two = open_feeds(tmp_path, [InputSpec("x", np.dtype(np.float32), (2, 2))])
    assert two.labels.tolist() == [[0, 1], [3, 4]]
    assert two[1]["x"].tolist() == ROWS[3:5].tolist()
    np.savez(tmp_path / "c.npz", x=ROWS)
    with pytest.raises(DataError, match=r"c\.npz: there is no array 'labels'.*a\.npz"):
        open_feeds(tmp_path, [X])


def test_labels_beside_the_arrays_are_not_inputs(tmp_path):
    np.save(tmp_path / "x.npy", ROWS)
    np.save(tmp_path / "labels.npy", np.arange(6))
    assert len(open_feeds(tmp_path, [X], labels=tmp_path / "labels.npy")) == 6


def test_arrays_that_differ_in_length():
    with pytest.raises(DataError, match=r"differ in length.*'x' 6, 'y' 5"):
        open_feeds({"x": ROWS, "y": np.arange(5)}, [X, Y])


@pytest.mark.parametrize("first", ["x", "y"])
def test_a_single_number_is_the_same_in_all_runs(first):
    specs = sorted([X, InputSpec("y", np.dtype(np.bool_), None)], key=lambda spec: spec.name != first)
    feeds = open_feeds({"x": ROWS, "y": np.array(True)}, specs)
    assert len(feeds) == 6
    assert (values(feeds) == ROWS).all()
    assert all(feed["y"].shape == () and feed["y"] for feed in feeds)


def test_preprocessing_is_not_silently_ignored():
    with pytest.raises(OptionError, match="--mean, --layout are for images, but the dict given gives arrays"):
        open_feeds({"x": ROWS}, [X], preprocessing=Preprocessing(mean=(0.5,), layout="nhwc"))


def corrupt(path: Path) -> None:
    np.savez_compressed(path, x=np.random.default_rng(0).normal(size=(100, 2)))
    content = bytearray(path.read_bytes())
    content[300:400] = bytes(100)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.npz", lambda p: p.write_bytes(b"no zip"), r"a\.npz: the file cannot be read"),
        ("a.npz", corrupt, r"a\.npz: the file cannot be read"),
        ("a.npz", lambda p: np.savez(p, x=[[None, 1]]), r"a\.npz: array 'x' is of type object"),
        ("a.npz", lambda p: np.savez(p), r"a\.npz: there is no array.*holds none"),
        ("a.npy", lambda p: p.write_bytes(b""), r"a\.npy: the file cannot be read"),
        ("a.npy", lambda p: np.save(p, np.ones((0, 2))), r"a\.npy: .* holds 0 samples"),
        ("a.onnx", lambda p: p.write_bytes(b""), r"a\.onnx: files of type \.onnx cannot be read"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(DataError, match=message):
        open_feeds(tmp_path / name, [X])


def test_truncated_npy(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, ROWS)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"a\.npy: the file cannot be read"):
        open_feeds(path, [X])


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match=r"no file or folder 'nowhere/x\.npz': give a \.npz"):
        open_feeds("nowhere/x.npz", [X])
    with pytest.raises(DataError, match=r"holds no \.npz, \.npy, \.wav or image files"):
        open_feeds(tmp_path, [X])


# Functions and iterables


SCRIPT = """
import dataclasses
import numpy as np
from neighbour import COUNT

def feeds():
    for n in range(COUNT):
        yield {"x": np.full((1, 2), n, np.float32), "labels": n + 10}

class Reader:
    def __init__(self):
        self.items = iter([{"x": np.zeros((1, 2))}])
    def get_next(self):
        return next(self.items, None)

def table(): return {"x": np.ones((4, 2))}
def nothing(): return None
def empty(): return []
def tuples(): yield (1, 2)
def numbers(): return [3]
def misnamed(): yield {"z": 1, "w": 2}
def raises(): raise KeyError("oops")
def raises_late():
    yield {"x": np.ones((1, 2))}
    raise RuntimeError("late")
def half_labelled():
    yield {"x": np.ones((1, 2)), "labels": 1}
    yield {"x": np.ones((1, 2))}
constant = 3
"""


@pytest.fixture
def script(tmp_path):
    (tmp_path / "neighbour.py").write_text("COUNT = 5")
    (tmp_path / "feeder.py").write_text(SCRIPT)
    yield str(tmp_path / "feeder.py")
    sys.modules.pop("neighbour", None)


def test_function_in_a_file(script):
    before = list(sys.path)
    feeds = open_feeds(f"{script}:feeds", [X])
    assert sys.path == before
    assert values(feeds)[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert feeds.labels.tolist() == [10, 11, 12, 13, 14]
    assert feeds.description == f"{script}:feeds: 5 samples"
    assert len(open_feeds(f"{script}:Reader", [X])) == 1
    assert len(open_feeds(f"{script}:table", [X])) == 4


def test_function_in_a_module(tmp_path, monkeypatch):
    (tmp_path / "feeder_package").mkdir()
    (tmp_path / "feeder_package" / "inner.py").write_text("def f():\n    yield {'x': [[1.0, 2.0]]}")
    monkeypatch.chdir(tmp_path)
    assert values(open_feeds("feeder_package.inner:f", [X])).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "defines no function 'missing'"),
        ("constant", "defines no function 'constant'"),
        ("nothing", "feeder.py:nothing: a NoneType gives no inputs"),
        ("empty", "feeder.py:empty yields no items"),
        ("tuples", "feeder.py:tuples, item 0 is a tuple"),
        ("numbers", "feeder.py:numbers, item 0 is a int"),
        ("misnamed", "feeder.py:misnamed, item 0: .*input 'x'; it holds 'z', 'w'"),
        ("raises", r"feeder.py:raises failed \(KeyError: 'oops'\)"),
        ("raises_late", r"feeder.py:raises_late failed \(RuntimeError: late\)"),
        ("half_labelled", "only 1 of 2 items have labels"),
    ],
)
def test_functions_that_do_not_serve(script, name, message):
    with pytest.raises((DataError, UserCodeError), match=message):
        open_feeds(f"{script}:{name}", [X])


def test_modules_that_cannot_be_imported(tmp_path):
    (tmp_path / "bad.py").write_text("import no_such_module_at_all")
    for place in (tmp_path / "bad.py", tmp_path / "absent.py", "no_such_package.module"):
        with pytest.raises(UserCodeError, match=r"(bad|absent|module).*:f cannot be imported \("):
            open_feeds(f"{place}:f", [X])


def test_iterators_are_read_once_and_no_further_than_the_limit():
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield {"x": np.full((1, 2), len(taken), np.float32)}

    feeds = open_feeds(endless(), [X], limit=4, labels=np.arange(100))
    assert len(taken) <= 5
    assert values(feeds)[:, 0].tolist() == [1, 2, 3, 4]
    assert values(feeds)[:, 0].tolist() == [1, 2, 3, 4]
    assert feeds.labels.tolist() == [0, 1, 2, 3]
    assert feeds.description == "the generator given: first 4 samples"
    assert len(open_feeds(endless, [X], limit=2)) == 2


def test_what_never_ends_is_refused_unless_it_is_limited(monkeypatch):
    endless = {"x": np.ones((1, 2), np.float32)}
    monkeypatch.setattr("sepfactor.data.sources.MOST_ITEMS", 7)
    with pytest.raises(DataError, match=r"more than 7 items.*--limit"):
        open_feeds(iter(lambda: endless, None), [X])
    assert len(open_feeds(iter([endless] * 7), [X])) == 7
    assert len(open_feeds(iter([endless] * 99), [X], limit=9)) == 9
    monkeypatch.setattr("sepfactor.data.sources.MOST_BYTES", 20)
    with pytest.raises(DataError, match="--limit"):
        open_feeds(iter(lambda: endless, None), [X])


def test_a_reused_buffer_is_copied():
    def reusing():
        buffer = np.zeros((1, 2), np.float32)
        for n in range(3):
            buffer[:] = n
            yield {"x": buffer}

    assert values(open_feeds(reusing(), [X]))[:, 0].tolist() == [0, 1, 2]


def test_calibration_data_reader():
    class Reader:
        def __init__(self):
            self.left = [{"x": row[None]} for row in ROWS]

        def get_next(self):
            return self.left.pop(0) if self.left else None

    assert (values(open_feeds(Reader(), [X])) == ROWS).all()


def test_items_of_several_samples():
    items = [{"x": ROWS[:3], "labels": [0, 1, 2]}, {"x": ROWS[3:], "labels": [3, 4, 5]}]
    feeds = open_feeds(items, [X])
    assert feeds.labels.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert feeds.description == "the list given: 2 runs of 3 samples"
    assert open_feeds(items, [X], labels=range(6)).labels.tolist() == feeds.labels.tolist()
    assert open_feeds(items, [X], labels=[7, 8]).labels.tolist() == [7, 8]
    with pytest.raises(DataError, match="labels differ in shape"):
        open_feeds([items[0], {"x": ROWS[3:], "labels": [3]}], [X])


def test_an_item_that_does_not_fit_is_named():
    with pytest.raises(DataError, match=r"list given, item 1: array 'x' holds 2 values that are NaN"):
        open_feeds([{"x": ROWS}, {"x": np.full((1, 2), np.nan)}], [X])
    with pytest.raises(DataError, match=r"item 0: array 'x' is empty"):
        open_feeds([{"x": np.ones((0, 2))}], [X])


def test_something_else_altogether():
    with pytest.raises(DataError, match="the int given: a int gives no inputs"):
        open_feeds(3, [X])


# Labels


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "5\n4\n3\n2\n1\n0\n"),
        ("a.csv", "label\n5\n4\n3\n2\n1\n0"),
        ("a.csv", "name,label\r\n" + "".join(f"s{n},{5 - n}\r\n" for n in range(6))),
        ("a.csv", "label;width\n" + "\n".join(f"{5 - n};7" for n in range(6))),
        ("a.txt", "\ufeff" + "\n\n".join(f"s {5 - n}" for n in range(6))),
        ("a.txt", "\n".join(f"s\t{5 - n}\tcalibration" for n in range(6))),
    ],
)
def test_labels_from_text(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert open_feeds({"x": ROWS}, [X], labels=tmp_path / name).labels.tolist() == [5, 4, 3, 2, 1, 0]


def test_labels_meant_for_other_data_serve_where_they_name_the_images(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "ab":
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / f"{name}.png")
    spec = [InputSpec("x", np.dtype("f4"), (None, 3, 4, 4))]

    def labels(text, by_name=True):
        (tmp_path / "l.csv").write_text(text)
        return open_feeds(folder, spec, labels=tmp_path / "l.csv", labels_by_name=by_name).labels

    assert labels("name,label\nz.png,9\nb.png,1\na.png,0\n").tolist() == [0, 1]
    assert labels("name,label\nz.png,9\nb.png,1\n") is None  # of other images
    assert labels("1\n0\n") is None  # in the order of who knows what
    assert labels("1\n0\n", by_name=False).tolist() == [1, 0]
    np.save(tmp_path / "l.npy", [1, 0])
    assert open_feeds(folder, spec, labels=tmp_path / "l.npy", labels_by_name=True).labels is None


def test_labels_from_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6, dtype=np.uint8))
    np.savez(tmp_path / "b.npz", any=np.arange(6.0))
    np.savez(tmp_path / "c.npz", labels=np.arange(6), other=np.ones(2))
    for source in (tmp_path / "a.npy", str(tmp_path / "b.npz"), tmp_path / "c.npz", range(6)):
        labels = open_feeds({"x": ROWS}, [X], labels=source).labels
        assert labels.tolist() == [0, 1, 2, 3, 4, 5]
        assert labels.dtype == np.int64
    masks = np.arange(6 * 4).reshape(6, 2, 2)
    assert (open_feeds({"x": ROWS}, [X], labels=masks).labels == masks).all()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", r"a\.csv: the file holds no labels"),
        ("a.csv", "label\n", r"a\.csv: the file holds no labels"),
        ("a.csv", "n,label\na,1\nb,cat\n", r"a\.csv: line 3 has 'cat' where a label"),
        ("a.csv", "a,1\nb\n", r"a\.csv: line 2 has 1 columns, but the first line 2"),
        ("a.csv", "1\n2\n", r"a\.csv: there are 2 labels, but the dict given has 6 samples"),
        ("a.json", "[1]", r"a\.json: there is no list 'images'"),
        ("a.xml", "<a/>", r"a\.xml: files of type \.xml"),
    ],
)
def test_label_files_that_do_not_serve(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        open_feeds({"x": ROWS}, [X], labels=tmp_path / name)


def test_labels_that_do_not_serve(tmp_path):
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe1")
    np.savez(tmp_path / "c.npz", one=[1], two=[2])
    np.save(tmp_path / "d.npy", np.array([None]), allow_pickle=True)
    for labels, message in [
        ("absent.csv", r"no file 'absent\.csv' with labels"),
        (tmp_path / "b.csv", r"b\.csv: the labels cannot be read"),
        (tmp_path / "c.npz", r"c\.npz: the file holds the arrays 'one', 'two'"),
        (tmp_path / "d.npy", r"d\.npy: array 'd' is of type object"),
        ([0.5] * 6, r"the labels: labels must be whole numbers"),
        ([np.nan] * 6, r"the labels: labels must be whole numbers"),
        (["cat"] * 6, r"the labels is of type <U3"),
        (3, r"there are 0 labels"),
    ]:
        with pytest.raises(DataError, match=message):
            open_feeds({"x": ROWS}, [X], labels=labels)
    with pytest.raises(DataError, match=r"'labels' has the shape \(2,\), but there are 6 samples"):
        open_feeds({"x": ROWS, "labels": [1, 2]}, [X])
    with pytest.raises(OptionError, match="without data"):
        open_feeds(None, [X], labels=[1])


def test_a_folder_of_packed_sounds_is_told_how_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"ID3")
    with pytest.raises(DataError, match=r"only \.wav files are read.*file\.py:function"):
        open_feeds(tmp_path, [X])
