"""A sample that is given twice counts once, and none is judged on that was fitted to."""

from __future__ import annotations

import numpy as np
import pytest

from sepfactor.data.copies import without_copies
from sepfactor.data.feeds import Feeds
from tests.data.test_feeds import ids, numbered


def test_copies_count_once() -> None:
    found = without_copies(numbered(6).take([0, 1, 1, 2, 0, 5]))
    assert ids(found) == [0, 1, 2, 5]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 2, 5]
    assert "2 samples of 6 given twice" in found.notes[-1]


def test_what_is_fitted_to_judges_nothing() -> None:
    found = without_copies(numbered(8).take([5, 6, 7, 7]), numbered(7))
    assert ids(found) == [7]
    assert any("2 samples of 4 to judge on also to fit to" in note for note in found.notes)


@pytest.mark.parametrize("count", [1, 9])
def test_where_all_differ_nothing_is_said(count: int) -> None:
    feeds: Feeds = numbered(count)
    assert without_copies(feeds) is feeds
    assert np.array_equal(ids(feeds), range(count))
