"""Runs, their order, their labels, and how they are described."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.data import Feeds, InputSpec, open_feeds
from sepfactor.errors import DataError, ModelError, OptionError

X = InputSpec("x", np.dtype(np.float32), ("batch", 2))


def numbered(count: int) -> Feeds:
    values = np.arange(count, dtype=np.float32)
    return open_feeds({"x": np.stack([values, -values], 1), "labels": np.arange(count)}, [X])


def ids(feeds: Feeds) -> list[int]:
    return [int(feed["x"][0, 0]) for feed in feeds]


@given(count=st.integers(1, 40), seed=st.integers(0, 99))
def test_shuffling_keeps_all_and_is_repeatable(count, seed):
    feeds = numbered(count)
    mixed = feeds.shuffled(seed)
    assert sorted(ids(mixed)) == list(range(count))
    assert ids(feeds.shuffled(seed)) == ids(mixed)
    assert mixed.labels.tolist() == ids(mixed)


def test_seeds_shuffle_otherwise():
    feeds = numbered(50)
    assert ids(feeds.shuffled(0)) != ids(feeds.shuffled(1))
    assert ids(feeds.shuffled()) != sorted(ids(feeds))


def test_take_composes_and_keeps_labels():
    feeds = numbered(10).take([7, 3, 5]).take([2, 0])
    assert ids(feeds) == [5, 7]
    assert feeds.labels.tolist() == [5, 7]
    assert feeds.description == "the dict given: 2 of 10 samples"
    assert ids(numbered(10)[2:9:3]) == [2, 5, 8]
    assert ids(numbered(10)[-1:]) == [9]
    assert numbered(3)[-1]["x"][0, 0] == 2
    assert len(feeds.take([])) == 0
    with pytest.raises(IndexError):
        feeds[2]


def test_what_a_caller_does_to_a_run_does_not_stay():
    given_array = np.ones((3, 2), np.float32)
    for data in ({"x": given_array}, [{"x": given_array}]):
        feeds = open_feeds(data, [X])
        feeds[0]["x"][:] = 99
        assert (feeds[0]["x"] == 1).all()
    assert (given_array == 1).all()


def test_limit_draws_a_seeded_subset_in_order():
    data = {"x": np.arange(60.0).reshape(30, 2), "labels": np.arange(30)}
    feeds = open_feeds(data, [X], limit=8, seed=3)
    again = open_feeds(data, [X], limit=8, seed=3)
    other = open_feeds(data, [X], limit=8, seed=4)
    assert len(feeds) == 8
    assert feeds.labels.tolist() == sorted(feeds.labels.tolist()) == again.labels.tolist()
    assert feeds.labels.tolist() != other.labels.tolist()
    assert [feed["x"][0, 0] for feed in feeds] == [2 * label for label in feeds.labels]
    assert feeds.description.endswith(": 8 of 30 samples")


def test_limit_spares_what_it_leaves_out():
    data = {"x": np.full((30, 2), np.nan, np.float32)}
    kept = np.random.default_rng(0).choice(30, 4, replace=False)
    data["x"][kept] = 1
    assert len(open_feeds(data, [X], limit=4)) == 4
    with pytest.raises(DataError, match="NaN"):
        open_feeds(data, [X], limit=5)


@pytest.mark.parametrize(("name", "value"), [("limit", 0), ("samples", 0), ("seed", -1)])
def test_senseless_counts(name, value):
    with pytest.raises(OptionError, match=f"{name} is {value}"):
        open_feeds(None, [X], **{name: value})


def test_input_from_onnxruntime():
    spec = InputSpec.of(SimpleNamespace(name="a", type="tensor(float16)", shape=["N", 3, None, -1]))
    assert spec == InputSpec("a", np.dtype(np.float16), ("N", 3, None, None))
    assert InputSpec.of(SimpleNamespace(name="a", type="tensor(bool)", shape=[])).shape is None
    scalar = SimpleNamespace(name="a", type="tensor(bool)", shape=[])
    assert InputSpec.of(scalar, is_scalar=True).shape == ()
    assert str(spec) == "'a' (float16 (N, 3, ?, ?))"
    for unknown in ("tensor(string)", "seq(tensor(float))", "float"):
        with pytest.raises(ModelError, match="'a'"):
            InputSpec.of(SimpleNamespace(name="a", type=unknown, shape=[1]))


def test_model_without_inputs():
    with pytest.raises(ModelError, match="no inputs"):
        open_feeds(None, [])


def test_given_shapes_fix_symbols_everywhere():
    inputs = [
        InputSpec("a", np.dtype(np.float32), ("N", "width")),
        InputSpec("b", np.dtype(np.int64), ("N", None)),
    ]
    feed = open_feeds(None, inputs, shapes={"a": (3, 5)})[0]
    assert feed["a"].shape == (3, 5)
    assert feed["b"].shape == (3, 1)
    with pytest.raises(OptionError, match=r"'c'.*'a', 'b'"):
        open_feeds(None, inputs, shapes={"c": (1,)})
    with pytest.raises(OptionError, match=r"'x'.*\(2, 3\).*\(batch, 2\)"):
        open_feeds(None, [X], shapes={"x": (2, 3)})


@pytest.mark.parametrize("seed", [0, 1])
def test_runs_of_a_fixed_batch(seed):
    fixed = InputSpec("x", np.dtype(np.float32), (4, 2))
    values = np.random.default_rng(seed).normal(size=(10, 2))
    feeds = open_feeds({"x": values}, [fixed], labels=np.arange(10))
    assert [feed["x"].shape for feed in feeds] == [(4, 2), (4, 2)]
    assert feeds[1]["x"] == pytest.approx(values[4:8])
    assert feeds.labels.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert feeds.description == "the dict given: 2 runs of 4 samples (2 samples fill no run)"
    assert open_feeds({"x": values}, [fixed], labels=[5, 6]).labels.tolist() == [5, 6]
    with pytest.raises(DataError, match=r"'x' holds 3 samples.*one run of 4"):
        open_feeds({"x": values[:3]}, [fixed])


@pytest.mark.parametrize(
    ("found", "wanted"),
    [("f8", "f4"), ("u1", "f4"), ("i8", "f2"), ("?", "f4"), ("i8", "i4"), ("i8", "u1"), ("f4", "f8")],
)
def test_harmless_casts_are_silent(found, wanted):
    feeds = open_feeds({"x": np.ones((1, 2), found)}, [InputSpec("x", np.dtype(wanted), (None, 2))])
    assert feeds[0]["x"].dtype == np.dtype(wanted)


@pytest.mark.parametrize(
    ("array", "wanted", "message"),
    [
        (np.ones((1, 2), "f4"), "i8", r"'x' is float32.*needs int64"),
        (np.ones((1, 2), "c8"), "f4", r"'x' is of type complex64"),
        (np.array([["a", "b"]]), "f4", r"'x' is of type <U1"),
        (np.array([[None, 1]]), "f4", r"'x' is of type object.*pickled"),
        (np.full((1, 2), 300), "u1", r"'x' holds numbers from 300 to 300.*uint8.*0..255"),
        (np.full((1, 2), -1), "u1", r"from -1 to -1"),
        (np.full((1, 2), 1e6), "f2", r"'x' holds 2 values that are too large for float16.*\(0, 0\)"),
        (np.array([[0, np.nan]]), "f4", r"run 0: array 'x' holds 1 .* NaN or infinite.*\(0, 1\)"),
        (np.array([[np.inf, 0]]), "f4", r"NaN or infinite"),
        (np.ones((1, 2, 1)), "f4", r"'x' has the shape \(1, 2, 1\).*needs \(samples, 2\)"),
        (np.ones((5, 3)), "f4", r"\(5, 3\).*\(samples, 2\)"),
        (np.ones(2), "f4", r"\(2\).*\(samples, 2\).*array\[None\]"),
        (np.ones((0, 2)), "f4", r"'x' holds 0 samples"),
        ([[1, 2], [3]], "f4", r"'x' cannot become one array"),
    ],
)
def test_arrays_that_do_not_fit(array, wanted, message):
    with pytest.raises(DataError, match=message):
        open_feeds({"x": array}, [InputSpec("x", np.dtype(wanted), ("batch", 2))])


def test_layout_is_recognised_in_the_message():
    image = InputSpec("x", np.dtype(np.float32), (None, 3, 8, 8))
    with pytest.raises(DataError, match=r"array.transpose\(0, 3, 1, 2\)"):
        open_feeds({"x": np.ones((2, 8, 8, 3))}, [image])
