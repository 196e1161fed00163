"""What is judged on decided nothing, and of few samples those that judge come first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import sepfactor
from sepfactor.errors import DataError, OptionError
from sepfactor.graph.load import load
from sepfactor.measure.engines import open_engine
from sepfactor.measure.relatives import joined
from sepfactor.options import make_options
from sepfactor.study.rewriting import inputs_to_compare
from sepfactor.study.splits import Splits, open_splits, split_sizes
from tests.data.test_sounds import save
from tests.graph.build import model
from tests.networks import images, plain


@given(count=st.integers(1, 2000), share=st.none() | st.floats(0.01, 0.99))
def test_sizes_leave_something_to_fit_to(count: int, share: float | None) -> None:
    judging, choosing = split_sizes(count, share)
    assert judging >= 0
    assert choosing >= 0
    assert judging + choosing < count
    assert judging >= 1 or count == 1
    assert judging >= choosing


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, (0, 0)), (2, (1, 0)), (8, (4, 0)), (16, (6, 2)), (24, (8, 4)), (100, (17, 8)), (1000, (167, 83))],
)
def test_of_few_samples_those_that_judge_come_first(count: int, expected: tuple[int, int]) -> None:
    assert split_sizes(count) == expected


def opened(count: int, tmp_path: Path, chooses: bool = True, **options: object) -> Splits:
    model = plain()
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    name = model.graph.input[0].name
    given = {name: np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1) + np.zeros_like(images(1))}
    loaded = load(path)
    asked = make_options({"data": given, **options})
    return open_splits(loaded, asked, open_engine(threads=1), chooses=chooses)


def numbers(feeds: object) -> set[float]:
    return {float(next(iter(feed.values())).flat[0]) for feed in feeds}  # type: ignore[attr-defined]


class TestParts:
    @pytest.mark.parametrize("count", [4, 5, 40])
    def test_all_are_apart(self, tmp_path: Path, count: int) -> None:
        splits = opened(count, tmp_path)
        parts = [numbers(part) for part in (splits.fit, splits.held_out, splits.judged_on)]
        assert sum(map(len, parts)) == len(set().union(*parts)) == count
        assert splits.decided_nothing
        assert parts[1] <= numbers(splits.chosen_on)
        assert not parts[2] & numbers(splits.chosen_on)

    def test_data_to_judge_on_leave_more_to_choose_by_and_the_same_to_fit_to(self, tmp_path: Path) -> None:
        alone = opened(40, tmp_path)
        name = next(iter(alone.fit[0]))
        other = {name: np.full((3, *alone.fit[0][name].shape[1:]), 99, np.float32)}
        both = opened(40, tmp_path, eval_data=other)
        assert numbers(both.fit) == numbers(alone.fit)
        assert numbers(both.held_out) == numbers(alone.held_out)
        assert numbers(both.chosen_on) >= numbers(alone.held_out) | numbers(alone.judged_on)
        assert numbers(both.judged_on) == {99.0}
        assert both.decided_nothing

    def test_where_nothing_is_decided_all_is_judged(self, tmp_path: Path) -> None:
        splits = opened(10, tmp_path, chooses=False, refit=False)
        assert len(splits.judged_on) == len(splits.fit) == 10

    def test_of_few_those_to_choose_by_are_fitted_to_as_well(self, tmp_path: Path) -> None:
        splits = opened(20, tmp_path)
        assert len(splits.chosen_on) == 12
        assert numbers(splits.held_out) < numbers(splits.chosen_on)
        assert numbers(splits.chosen_on) | numbers(splits.fitted_only) == numbers(splits.held_out) | numbers(
            splits.fit
        )
        assert not numbers(splits.chosen_on) & numbers(splits.judged_on)

    def test_so_few_that_nothing_could_be_shown_are_all_fitted_to(self, tmp_path: Path) -> None:
        splits = opened(3, tmp_path)
        assert numbers(splits.fit) == numbers(splits.judged_on)
        assert not splits.decided_nothing
        assert not len(splits.held_out)

    def test_a_choice_among_bare_weights_is_a_choice(self, tmp_path: Path) -> None:
        splits = opened(20, tmp_path, refit=False)
        assert not numbers(splits.judged_on) & (numbers(splits.fit) | numbers(splits.chosen_on))

    def test_data_to_judge_on_that_are_all_fitted_to_are_refused(self, tmp_path: Path) -> None:
        name = next(iter(opened(10, tmp_path).fit[0]))
        same = {name: np.arange(3, dtype=np.float32).reshape(-1, 1, 1, 1) + np.zeros_like(images(1))}
        with pytest.raises(DataError, match="--eval-data"):
            opened(10, tmp_path, eval_data=same)


class TestRelatives:
    """Of embeddings, what the network takes for nearly the same stays on one side."""

    def opened(self, rows: np.ndarray, **options: object) -> Splits:
        loaded = load(model("y = Identity (x)", "float[N, 64] x", "float[N, 64] y"))
        return open_splits(
            loaded, make_options({"data": {"x": rows}, **options}), open_engine(), chooses=True
        )

    def people(self, photographs: int, people: int = 16) -> np.ndarray:
        rng = np.random.default_rng(0)
        middles = np.repeat(rng.standard_normal((people, 64)), photographs, axis=0)
        return (middles + 0.2 * rng.standard_normal(middles.shape)).astype(np.float32)

    @pytest.mark.parametrize("seed", range(4))
    def test_no_person_is_fitted_to_and_judged_on(self, seed: int) -> None:
        rows = self.people(3)
        splits = self.opened(rows, seed=seed)
        person = {row.tobytes(): number // 3 for number, row in enumerate(rows)}
        parts = [
            {person[feed["x"].tobytes()] for feed in part}
            for part in (splits.fit, splits.held_out, splits.judged_on)
        ]
        for one in range(3):
            for other in range(one):
                assert not parts[one] & parts[other]
        assert splits.judged_units == len(parts[2])
        assert 3 * len(parts[2]) == len(splits.judged_on) >= split_sizes(48)[0]
        assert any("16 groups of 48" in note for note in splits.notes)

    def test_strangers_are_drawn_as_ever(self) -> None:
        rows = self.people(1, 48)
        splits = self.opened(rows)
        order = np.random.default_rng(0).permutation(48)
        judging, _ = split_sizes(48)
        given = [feed["x"].tobytes() for feed in splits.judged_on]
        assert given == [rows[k : k + 1].tobytes() for k in order[:judging]]
        assert splits.judged_units is None

    def test_one_large_family_says_nothing(self) -> None:
        rows = self.people(1, 1) + 0.2 * self.people(1, 24)
        assert self.opened(rows).judged_units is None


class TestOptionsOfOneKindOfData:
    @pytest.fixture
    def pictures(self, tmp_path: Path) -> Path:
        folder = tmp_path / "pictures"
        folder.mkdir()
        for number in range(5):
            pixels = np.full((30, 20, 3), 20 * number, np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
        return folder

    def test_serve_the_data_that_use_them(self, tmp_path: Path, pictures: Path) -> None:
        name = plain().graph.input[0].name
        arrays = {name: images(3)}
        for fitted_to, other in ((pictures, arrays), (arrays, pictures), (None, pictures)):
            splits = opened(3, tmp_path, data=fitted_to, eval_data=other, letterbox=True, scale=0.5)
            count = len(splits.judged_on)
            assert count == (5 if other is pictures else 3)
            of_pictures = splits.judged_on if other is pictures else splits.fit
            assert of_pictures.preprocessing is not None
            assert of_pictures.preprocessing.letterbox

    def test_are_refused_where_no_data_use_them(self, tmp_path: Path, pictures: Path) -> None:
        name = plain().graph.input[0].name
        with pytest.raises(OptionError, match="--letterbox is for images"):
            opened(3, tmp_path, eval_data={name: images(3)}, letterbox=True)
        with pytest.raises(OptionError, match="--sample-rate is for sounds"):
            opened(3, tmp_path, eval_data=pictures, sample_rate=8000)
        with pytest.raises(OptionError, match=r"--letterbox is for images.* no --data was given"):
            opened(3, tmp_path, data=None, letterbox=True)

    def test_say_nothing_of_what_is_made_up_beside_data(self, tmp_path: Path, pictures: Path) -> None:
        onnx.save(plain(), tmp_path / "model.onnx")
        loaded, engine = load(tmp_path / "model.onnx"), open_engine(threads=1)
        asked = make_options({"data": pictures, "letterbox": True, "border": 0})
        splits = open_splits(loaded, asked, engine)
        assert len(inputs_to_compare(splits, loaded, asked, engine)) == 3

    def test_are_in_a_plan_if_its_data_use_them(self, tmp_path: Path, pictures: Path) -> None:
        onnx.save(plain(), tmp_path / "model.onnx")
        np.savez(tmp_path / "arrays.npz", **{plain().graph.input[0].name: images(4)})
        for data, other, is_kept in (("pictures", "arrays.npz", True), ("arrays.npz", "pictures", False)):
            _, (found,) = sepfactor.plan(
                tmp_path / "model.onnx",
                data=tmp_path / data,
                eval_data=tmp_path / other,
                letterbox=True,
                rank=1,
                refit=False,
            )
            assert found.options["letterbox"] is is_kept
            sepfactor.apply(tmp_path / "model.onnx", found)


class TestRecordings:
    """Windows of one recording stay on one side, where there are enough of them."""

    def opened(
        self, folder: Path, recordings: int, windows: int, batch: str = "N", **options: object
    ) -> Splits:
        rng = np.random.default_rng(0)
        for number in range(recordings):
            save(folder / f"{number:02}.wav", 0.1 * number + 0.05 * rng.random((8 * windows, 1)), "f4")
        loaded = load(model("y = Identity (x)", f"float[{batch}, 8] x", f"float[{batch}, 8] y"))
        return open_splits(loaded, make_options({"data": folder, **options}), open_engine(), chooses=True)

    @pytest.mark.parametrize("seed", range(4))
    def test_none_is_fitted_to_and_judged_on(self, tmp_path: Path, seed: int) -> None:
        splits = self.opened(tmp_path, 9, 6, seed=seed)
        parts = [
            {int(feed["x"].min() * 10 + 1e-6) for feed in part}
            for part in (splits.fit, splits.held_out, splits.judged_on)
        ]
        assert sum(map(len, parts)) == len(set().union(*parts)) == 9
        assert all(parts)
        assert splits.judged_units is None
        assert any("Windows of one recording are" in note for note in splits.notes)

    @pytest.mark.parametrize("recordings", [1, 3])
    def test_of_few_they_are_drawn_one_by_one_and_it_is_said(self, tmp_path: Path, recordings: int) -> None:
        splits = self.opened(tmp_path, recordings, 20)
        assert len(splits.judged_on) == split_sizes(20 * recordings)[0]
        assert any("--eval-data" in note for note in splits.notes)
        assert not any("together" in note for note in splits.notes)
        assert splits.decided_nothing

    def test_a_long_one_is_parted_and_the_others_are_not(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(1)
        save(tmp_path / "long.wav", 0.95 + 0.01 * rng.random((8 * 30, 1)), "f4")
        splits = self.opened(tmp_path, 9, 4)
        parts = [
            {int(feed["x"].min() * 10 + 1e-6) for feed in part} - {9}
            for part in (splits.fit, splits.held_out, splits.judged_on)
        ]
        assert sum(map(len, parts)) == len(set().union(*parts)) == 9
        assert sum("recording" in note for note in splits.notes) == 2

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
    def test_something_is_left_to_fit_to_whatever_is_held_out(self, tmp_path: Path, share: float) -> None:
        splits = self.opened(tmp_path, 4, 4, held_out=share)
        assert len(splits.fit)
        assert len(splits.judged_on)

    def test_runs_of_several_windows_are_of_the_recording_they_begin_in(self, tmp_path: Path) -> None:
        splits = self.opened(tmp_path, 12, 13, batch="2")
        begins = [
            {int(feed["x"][0].min() * 10 + 1e-6) for feed in part}
            for part in (splits.fit, splits.held_out, splits.judged_on)
        ]
        assert sum(map(len, begins)) == len(set().union(*begins))

    def test_whole_sounds_are_each_their_own(self, tmp_path: Path) -> None:
        splits = self.opened(tmp_path, 40, 1)
        assert len(splits.judged_on) == split_sizes(40)[0]
        assert not any("recording" in note for note in splits.notes)


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=30),
    st.lists(st.integers(0, 6), min_size=30, max_size=30),
)
def test_what_is_together_in_any_grouping_is_together(one: list[int], other: list[int]) -> None:
    first, second = np.array(one), np.array(other[: len(one)])
    found = joined(len(one), first, None, second)
    assert set(found) == set(range(len(set(found))))
    alike = (first[:, None] == first) | (second[:, None] == second)
    reach = np.linalg.matrix_power(alike.astype(float), len(one)) > 0
    np.testing.assert_array_equal(found[:, None] == found, reach)
