"""A limit on what is lost is kept by every output, at the pessimistic end, on enough samples."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sepfactor.amounts import Amount
from sepfactor.budgets import Budget, MaxDrop, MinSnr
from sepfactor.errors import DataError
from sepfactor.options import Options
from sepfactor.results import Quality


def quality(kind: Any, score: float, **more: Any) -> Quality:
    original = math.inf if kind in ("snr", "psnr") else 1.0
    given = {"divergence": 1e-3, "samples": 40, "output": "y", **more}
    return Quality(kind=kind, original=original, result=score, expected=score, **given)


def limits(*kinds: Any, **options: Any) -> Any:
    return Budget.of(Options(**options)).quality_limit(kinds, 1.0)


class TestEveryOutputCounts:
    def test_the_worst_of_other_kinds_counts_beside_the_main_one(self) -> None:
        ours = limits("agreement", "snr")
        fine = quality("agreement", 1.0, others=(quality("snr", 40.0),))
        lost = quality("agreement", 1.0, others=(quality("snr", 20.0),))
        assert ours.is_kept(fine)
        assert not ours.is_kept(lost)
        assert ours.loss(fine) <= ours.most < ours.loss(lost)
        assert [one.is_met for one in ours.results(lost)] == [True, False]
        assert [one.code for one in ours.results(fine)] == ["max-drop", "min-snr"]

    def test_what_is_asked_for_goes_to_the_main_kind(self) -> None:
        ours = limits("snr", "agreement", min_snr=20.0)
        assert isinstance(ours.main, MinSnr)
        assert ours.main.asked == pytest.approx(20.0)
        assert isinstance(ours.others[0], MaxDrop)

    def test_a_floor_under_scores_is_told_where_it_is_broken(self) -> None:
        ours = limits("agreement", "scores")
        kept, broken = (quality("agreement", 1.0, others=(quality("scores", s),)) for s in (0.98, 0.1))
        assert [one.code for one in ours.results(kept)] == ["max-drop"]
        assert [one.is_met for one in ours.results(broken)] == [True, False]
        assert not ours.is_kept(broken)

    def test_nothing_to_judge_is_refused(self) -> None:
        with pytest.raises(DataError, match="--metric"):
            limits()

    def test_cost_alone_limits_no_loss(self) -> None:
        assert limits("snr", speedup=2.0) is None


class TestWhatIsShown:
    def test_the_pessimistic_end_counts(self) -> None:
        limit = MinSnr.of(35.0, "snr", 1.0)
        assert limit.is_kept(quality("snr", 36.0, pessimistic=35.2))
        assert not limit.is_kept(quality("snr", 36.0, pessimistic=34.8))

    @pytest.mark.parametrize(("kind", "score", "least"), [("snr", 60.0, 4), ("agreement", 1.0, 8)])
    def test_so_few_show_nothing(self, kind: Any, score: float, least: int) -> None:
        (limit, *_) = (limits(kind).main,)
        for samples in (1, least - 1, least):
            result = limit.result(quality(kind, score, samples=samples))
            assert result.is_met == (samples >= least)
            if not result.is_met:
                assert f"give {least - samples} more" in result.text
                assert ": kept" not in result.text

    def test_what_is_off_by_rounding_alone_needs_no_more(self) -> None:
        one = quality("snr", 130.0, samples=1, divergence=1e-13)
        assert limits("snr").main.result(one).is_met
        assert not limits("snr").main.result(one.model_copy(update={"judged_on": "fitted"})).is_met

    def test_what_was_fitted_to_shows_nothing(self) -> None:
        result = limits("snr").main.result(quality("snr", 60.0, judged_on="fitted"))
        assert not result.is_met
        assert "held-out" not in result.text

    def test_agreement_is_evidence_only_where_answers_vary(self) -> None:
        limit = MaxDrop.of(Amount(0.01, True), "agreement", 1.0)
        result = limit.result(quality("agreement", 1.0, is_varied=False))
        assert not result.is_met
        assert "one class" in result.text

    def test_how_many_equal_answers_show_a_small_share(self) -> None:
        """None of n differed: at most 2.7 / n do, 95 % sure."""
        limit = MaxDrop.of(Amount(0.01, True), "agreement", 1.0)
        few, many = (limit.result(quality("agreement", 1.0, trials=n, samples=n)) for n in (200, 300))
        assert not few.is_met
        assert "give 68 samples more" in few.text
        assert many.is_met

    def test_on_evaluation_data_what_is_counted_may_not_be_more_either(self) -> None:
        limit = MaxDrop.of(Amount(0.01, True), "top-1", 1.0)
        one = quality("top-1", 0.98).model_copy(update={"expected": 1.0, "pessimistic": 1.0})
        assert limit.is_kept(one)
        assert not limit.is_kept(one.model_copy(update={"judged_on": "eval-data"}))
        assert not limit.result(one.model_copy(update={"judged_on": "eval-data"})).is_met

    def test_a_changed_shape_is_said(self) -> None:
        result = limits("snr").main.result(quality("snr", 3.0, changed=3))
        assert "changed in 3 runs" in result.text
        assert not result.is_met


def test_one_box_must_be_within_the_budget() -> None:
    def seen(found: int) -> Quality:
        few = {"kind": "boxes", "original": 1.0, "result": 1.0, "expected": 1.0, "divergence": 0.01}
        return Quality(**few, samples=10, output="y", found=found)

    limit = MaxDrop.of(Amount(0.02, True), "boxes", 1.0)
    assert limit.result(seen(50)).is_met
    found = limit.result(seen(40))
    assert not found.is_met
    assert "40 boxes of at least 50: give 3 samples more" in found.text
