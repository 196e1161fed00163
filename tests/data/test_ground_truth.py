"""What dense outputs should be: where it is found, and that it stays with its run."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sepfactor.data import Feeds, InputSpec, open_feeds
from sepfactor.errors import DataError, OptionError

X = InputSpec("x", np.dtype(np.float32), ("batch", 2))
FOUR = InputSpec("x", np.dtype(np.float32), (4, 2))
ROWS = np.arange(20.0).reshape(10, 2)
TRUTH = np.arange(10 * 9, dtype=np.float32).reshape(10, 1, 3, 3)


def follow(feeds: Feeds) -> bool:
    """Whether the target of each run is the one of its samples."""
    rows = [(feed["x"][:, 0] / 2).astype(int) for feed in feeds]
    wanted = np.stack([TRUTH[r] if len(r) > 1 else TRUTH[r[0]] for r in rows])
    return np.array_equal(feeds.targets, wanted)


@pytest.mark.parametrize("name", ["target", "targets"])
def test_beside_the_inputs(tmp_path, name):
    np.savez(tmp_path / "a.npz", other=ROWS, **{name: TRUTH})
    for data in (tmp_path / "a.npz", {"x": ROWS, name: TRUTH}):
        feeds = open_feeds(data, [X])
        assert feeds.targets.shape == (10, 1, 3, 3)
        assert feeds.targets.dtype == np.float32
        assert feeds.has_targets
        assert feeds.labels is None
        assert follow(feeds)
    assert open_feeds({"x": ROWS}, [X]).targets is None
    assert not open_feeds({"x": ROWS}, [X]).has_targets


def test_given_apart(tmp_path):
    np.save(tmp_path / "a.npy", TRUTH)
    np.savez(tmp_path / "b.npz", any=TRUTH)
    np.savez(tmp_path / "c.npz", target=TRUTH, luma=ROWS)
    data = {"x": ROWS, "target": np.zeros_like(TRUTH), "labels": np.arange(10)}
    for targets in (tmp_path / "a.npy", str(tmp_path / "b.npz"), tmp_path / "c.npz", TRUTH, TRUTH.tolist()):
        feeds = open_feeds(data, [X], targets=targets)
        assert follow(feeds)
        assert feeds.labels.tolist() == list(range(10))


def test_a_file_of_targets_in_the_folder_is_not_an_input(tmp_path):
    np.save(tmp_path / "x.npy", ROWS)
    np.save(tmp_path / "target.npy", TRUTH)
    assert follow(open_feeds(tmp_path, [X], targets=tmp_path / "target.npy"))


def test_an_input_called_target_is_an_input():
    spec = InputSpec("target", np.dtype(np.float32), ("batch", 2))
    assert open_feeds({"target": ROWS}, [spec]).targets is None
    feeds = open_feeds({"target": ROWS, "targets": TRUTH}, [spec])
    assert np.array_equal(feeds.targets, TRUTH)


@given(seed=st.integers(0, 99), limit=st.integers(1, 10))
def test_targets_stay_with_their_runs(seed, limit):
    feeds = open_feeds({"x": ROWS, "target": TRUTH}, [X], limit=limit, seed=seed)
    assert follow(feeds)
    for part in (feeds.shuffled(seed)[1:], feeds[::-1], feeds.take([0, 0])):
        if len(part):
            assert follow(part)


def test_runs_of_several_samples():
    for feeds in (
        open_feeds({"x": ROWS, "target": TRUTH}, [FOUR]),
        open_feeds({"x": ROWS}, [FOUR], targets=TRUTH),
        open_feeds({"x": ROWS}, [FOUR], targets=TRUTH[:8].reshape(2, 4, 1, 3, 3)),
        open_feeds([{"x": ROWS[:4], "target": TRUTH[:4]}, {"x": ROWS[4:8], "target": TRUTH[4:8]}], [X]),
    ):
        assert feeds.targets.shape == (2, 4, 1, 3, 3)
        assert follow(feeds)
        assert follow(feeds[::-1])


def test_folder_of_several_sizes(tmp_path):
    image = InputSpec("x", np.dtype(np.float32), ("batch", 1, "h", "w"))
    sizes = [(2, 3), (4, 1), (2, 3)]
    for number, size in enumerate(sizes):
        luma = np.full((1, 1, *size), number, np.float32)
        np.savez(tmp_path / f"{number}.npz", x=luma, target=luma.repeat(2, 2).repeat(2, 3))
    feeds = open_feeds(tmp_path, [image])
    assert [target.shape for target in feeds.targets] == [(1, 2 * h, 2 * w) for h, w in sizes]
    assert [target.max() for target in feeds.take([2, 0, 1]).targets] == [2, 0, 1]
    assert feeds.take([2, 0]).targets.shape == (2, 1, 4, 6)
    np.savez(tmp_path / "3.npz", x=np.ones((1, 1, 2, 2)))
    with pytest.raises(DataError, match=r"3\.npz: there is no array 'target', though .*0\.npz has one"):
        open_feeds(tmp_path, [image])


def test_items_of_an_iterator():
    def reusing(count):
        x, target = np.zeros((1, 2), np.float32), np.zeros((1, 1, 3, 3), np.float32)
        for n in range(10):
            x[:], target[:] = ROWS[n], TRUTH[n]
            yield {"x": x} | ({"target": target} if n < count else {})

    assert np.array_equal(open_feeds(reusing(10), [X]).targets[:, 0], TRUTH)
    assert follow(open_feeds(reusing(0), [X], targets=TRUTH, limit=3))
    with pytest.raises(DataError, match="only 9 of 10 items have targets"):
        open_feeds(reusing(9), [X])


@pytest.mark.parametrize(("found", "kept"), [("u1", "f4"), ("f2", "f4"), ("f8", "f8"), ("?", "f4")])
def test_targets_are_floats(found, kept):
    feeds = open_feeds({"x": ROWS, "target": np.ones((10, 2, 2), found)}, [X])
    assert feeds.targets.dtype == np.dtype(kept)


def test_targets_that_do_not_serve(tmp_path):
    np.savez(tmp_path / "c.npz", one=[1], two=[2])
    (tmp_path / "d.csv").write_text("1\n2")
    broken = TRUTH.copy()
    broken[7, 0, 1, 1] = np.nan
    for targets, message in [
        ("absent.npy", r"no file 'absent\.npy' with targets: give a \.npy or \.npz file"),
        (tmp_path / "c.npz", r"c\.npz: the file holds the arrays 'one', 'two', and which are the targets"),
        (tmp_path / "d.csv", r"d\.csv: files of type \.csv cannot be read: give a \.npy or \.npz file"),
        (TRUTH[:9], r"there are 9 targets, but the dict given has 10 samples"),
        (np.arange(10), r"one whole number per sample.*call them labels"),
        (np.arange(10)[:, None], r"call them labels"),
        (["a"] * 10, r"of type <U1"),
        ([[1], [2, 3]], r"cannot become one array"),
        (broken, r"the dict given, run 7: the target holds NaN"),
        (3.0, r"there are 0 targets"),
    ]:
        with pytest.raises(DataError, match=message):
            open_feeds({"x": ROWS}, [X], targets=targets)
    for target, message in [
        (TRUTH[:9], r"'target' has the shape \(9, 1, 3, 3\), but there are 10 samples"),
        (np.arange(10), r"array 'target' holds one whole number per sample"),
        (np.array(["a"] * 10), r"array 'target' is of type <U1"),
    ]:
        with pytest.raises(DataError, match=message):
            open_feeds({"x": ROWS, "target": target}, [X])
    spared = open_feeds({"x": ROWS}, [X], targets=broken, limit=5, seed=1)
    assert np.isfinite(spared.targets).all()
    with pytest.raises(OptionError, match="Targets are given without data"):
        open_feeds(None, [X], targets=TRUTH)


def test_taking_a_part_reads_nothing(monkeypatch):
    count = 10_000
    labels = np.arange(count)
    data = {"x": np.stack([labels, -labels], 1), "labels": labels, "target": np.ones((count, 2, 2)) * 0.5}
    data["target"][:, 0, 0] = labels
    feeds = open_feeds(data, [X])
    reads = []
    monkeypatch.setattr(feeds, "_target", lambda run: reads.append(run) or data["target"][run])
    held_out = feeds.shuffled()[:2500]
    assert not reads
    assert len(held_out) == 2500
    assert np.array_equal(held_out.targets[:, 0, 0], held_out.labels)
    assert sorted(reads) == sorted(held_out.labels.tolist())
