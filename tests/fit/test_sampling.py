"""What a site reads is put beside what it should answer, or left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sepfactor.fit.sampling import read_rows
from sepfactor.graph.survey import Site, survey
from tests.fit.small import opened
from tests.graph.build import model, normal

Turns = dict[int, np.ndarray]


class Stub:
    """A walk that says what it is told to."""

    def __init__(self, images: list[Turns]) -> None:
        self._images = images
        self.partition = self

    def __len__(self) -> int:
        return len(self._images)

    def reads(self, image: int, site: Site) -> Turns:
        return self._images[image]

    answers = reads

    def is_rectified(self, _: str) -> bool:
        return False

    def partner(self, _: str) -> None:
        return None


def rows_of(read: list[Turns], answers: list[Turns], held: set[int]) -> Any:
    proto = model("y = Conv(x, w)", "float[N,2,H,W] x", "float[N,3,P,Q] y", w=normal(3, 2, 1, 1))
    (site,) = survey(opened(proto))
    options = {"entries": 1e6, "residual": True, "rectified": True}
    return read_rows(site, Stub(answers), Stub(read), held, 0, **options)  # type: ignore[arg-type]


def x(seed: int, *size: int) -> np.ndarray:
    return normal(1, 2, *(size or (4, 4)), seed=seed)


def y(seed: int, *size: int) -> np.ndarray:
    return normal(1, 3, *(size or (4, 4)), seed=seed)


@pytest.mark.parametrize(
    ("read", "answers"),
    [
        ({0: x(1), 1: x(2)}, {0: y(1)}),
        ({0: x(1), 2: x(2)}, {0: y(1), 1: y(2)}),
        ({0: x(1, 5, 5)}, {0: y(1)}),
        ({}, {}),
    ],
    ids=["more turns", "other turns", "another size", "none"],
)
def test_what_does_not_belong_together_is_left_out(read: Turns, answers: Turns) -> None:
    """Another image, whose turns do, decides alone."""
    good = {0: x(7)}, {0: y(7)}
    assert rows_of([read], [answers], set()) is None
    seen, judged = rows_of([read, good[0]], [answers, good[1]], {0})
    alone, _ = rows_of([good[0]], [good[1]], set())
    assert judged is seen  # nothing is left to judge on apart
    np.testing.assert_allclose(seen.moments().covariance, alone.moments().covariance, rtol=1e-6)
    assert rows_of([good[0], read], [good[1], answers], {0}) is None  # nothing to fit to


def test_turns_are_read_one_by_one() -> None:
    read, answers = {0: x(1), 3: x(2)}, {0: y(1), 3: y(2)}
    seen, _ = rows_of([read], [answers], set())
    both, _ = rows_of(
        [{0: np.concatenate([*read.values()])}], [{0: np.concatenate([*answers.values()])}], set()
    )
    np.testing.assert_allclose(seen.moments().covariance, both.moments().covariance, rtol=1e-5)
