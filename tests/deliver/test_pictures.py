"""Samples worth showing: which are kept, and that they show what was there."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sepfactor.data import Preprocessing
from sepfactor.deliver.pictures import PictureBook
from sepfactor.results import Picture

Array = np.ndarray


def pixels(uri: str | None) -> Array:
    assert uri is not None
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        return np.asarray(image)


def photo(seed: int, size: int = 64, channels: int = 3) -> Array:
    """Smooth, from 0 to 255, ``(size, size, channels)``."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    waves = [np.sin(2 * np.pi * (a * x + b * y) + c) for a, b, c in rng.uniform(0, 2, (channels, 3))]
    return np.rint(127.5 + 127.5 * np.stack(waves, -1)).astype(np.uint8)


def dense(before: Array, after: Array, feed: Array | None = None) -> tuple[Picture, ...]:
    book = PictureBook()
    for i in range(len(before)):
        part = slice(i, i + 1)
        book.look({"x": (before if feed is None else feed)[part]}, {"y": before[part]}, {"y": after[part]})
    return book.pages()


class TestImagesThatComeOut:
    def test_the_part_with_most_of_the_error(self) -> None:
        before = np.moveaxis(photo(0, 400), -1, 0)[None] / 255.0
        after = before.copy()
        after[0, :, 0, 0] += 0.5  # the largest error of all
        after[0, :, 280:320, 190:230] += 0.05
        (page,) = dense(before, after)
        lit = np.argwhere(pixels(page.difference).max(axis=2) > 100)
        assert len(lit) == 1600

    def test_an_error_in_one_place_stands_in_the_middle(self) -> None:
        before = np.moveaxis(photo(0, 400), -1, 0)[None] / 255.0
        after = before.copy()
        after[0, :, 300:306, 210:216] += 0.05
        (page,) = dense(before, after)
        shown = pixels(page.difference)
        assert shown.shape == (160, 160, 3)
        lit = np.argwhere(shown.max(axis=2) > 100)
        assert len(lit) == 36
        assert np.abs(lit - 80).max() <= 6  # in the middle
        assert page.gain is not None
        assert 1 <= page.gain * 0.05 <= 2.5

    def test_both_sides_are_shown_as_they_are(self) -> None:
        before = np.moveaxis(photo(1), -1, 0)[None] / 255.0
        after = np.clip(before + 0.1, 0, 1)
        (page,) = dense(before, after)
        np.testing.assert_array_equal(pixels(page.original), photo(1))
        np.testing.assert_allclose(pixels(page.result), np.clip(photo(1) + 25.5, 0, 255), atol=1)

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("channels_last", [False, True])
    def test_layouts(self, channels: int, channels_last: bool) -> None:
        image = photo(2, channels=channels)[None].astype(np.float32)
        before = image if channels_last else np.moveaxis(image, -1, 1)
        (page,) = dense(before, before + 5)
        np.testing.assert_array_equal(pixels(page.original), image[0, ..., 0] if channels == 1 else image[0])

    def test_the_worst_four_in_order(self) -> None:
        before = np.stack([np.moveaxis(photo(i), -1, 0) for i in range(7)]) / 255.0
        after = before + np.array([3, 0, 6, 1, 5, 2, 4]).reshape(-1, 1, 1, 1) / 100
        pages = dense(before, after)
        assert len(pages) == 4
        snr = [page.snr_db for page in pages]
        assert snr == sorted(snr)
        assert 1 not in {page.sample for page in pages}
        assert pages[0].sample == 2

    def test_equal_outputs_show_nothing(self) -> None:
        before = np.moveaxis(photo(0), -1, 0)[None] / 255.0
        assert dense(before, before.copy()) == ()

    def test_what_is_no_image_shows_nothing(self) -> None:
        rng = np.random.default_rng(0)
        for shape in ((1, 7, 32, 32), (1, 3, 4, 4), (1, 3, 32), (1, 5)):
            before = rng.random(shape)
            feed = np.zeros((1, 4), np.float32)
            assert dense(before, before[..., ::-1], feed) == ()

    def test_what_is_not_finite_is_left_out(self) -> None:
        before = np.moveaxis(photo(0), -1, 0)[None] / 255.0
        assert dense(before, np.full_like(before, np.nan)) == ()

    def test_there_is_an_end_to_it(self) -> None:
        noise = np.random.default_rng(0).random((6, 3, 300, 300))
        pages = dense(noise, noise[::-1])
        assert 0 < sum(len(page.model_dump_json()) for page in pages) < 600_000


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("scale", "mean", "std"),
    [
        (1, 0, 1),
        (1 / 255, 0, 1),
        (1 / 127.5, 1, 1),
        (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        (1, (123.7, 116.8, 103.9), 1),
        (1, 127, 128),
        (1 / 255, 0.45, 0.225),
        (257, 0, 1),
    ],
)
def test_pictures_of_any_scale_can_be_seen(scale: float, mean: Any, std: Any, seed: int) -> None:
    """Arrays do not say how they were made of pixels; what is shown looks like the photograph."""
    image = photo(seed).astype(float)
    values = np.moveaxis((image * scale - np.array(mean)) / np.array(std), -1, 0)[None]
    book = PictureBook()
    scores = np.array([[1.0, 0.0]])
    book.look({"x": values}, {"y": scores}, {"y": scores[:, ::-1]})
    (page,) = dense(values, values + 0.05 * values.std())
    for shown in (book.pages()[0].input, page.input, page.original):
        found = pixels(shown).astype(float)
        for channel in range(3):
            assert np.corrcoef(found[..., channel].ravel(), image[..., channel].ravel())[0, 1] > 0.99
        assert 0.7 < found.std() / image.std() < 1.4
        assert abs(found.mean() - image.mean()) < 30


@pytest.mark.parametrize("scale", [1.0, 1 / 255])
def test_what_is_dark_stays_dark(scale: float) -> None:
    night = scale * np.moveaxis(0.3 * photo(0), -1, 0)[None]
    (page,) = dense(night, night + scale)
    assert 60 < pixels(page.original).max() < 90


class TestClassifiers:
    def book(
        self, count: int, labels: Array | None = None, preprocessing: Preprocessing | None = None
    ) -> PictureBook:
        return PictureBook(preprocessing, labels)

    def test_only_changed_classes_and_the_surest_first(self) -> None:
        book = self.book(4, labels=np.array([1, 1, -1, 0]))
        before = np.array([[0, 1, 0], [0, 3, 0], [0, 2, 0], [5, 0, 0]], np.float32)
        after = np.array([[0, 1, 0], [4, 3, 0], [0, 2, 3], [5, 6, 0]], np.float32)
        images = np.stack([np.moveaxis(photo(i), -1, 0) for i in range(4)]).astype(np.float32)
        book.look({"x": images[:3]}, {"y": before[:3]}, {"y": after[:3]})
        book.look({"x": images[3:]}, {"y": before[3:]}, {"y": after[3:]})
        pages = book.pages()
        assert [page.sample for page in pages] == [3, 1, 2]
        assert [page.classes for page in pages] == [(0, 1), (1, 0), (1, 2)]
        assert [page.label for page in pages] == [0, 1, None]

    def test_a_dozen_at_most(self) -> None:
        book = self.book(40)
        images = np.random.default_rng(0).random((40, 1, 16, 16), np.float32)
        scores = np.random.default_rng(1).random((40, 10))
        book.look({"x": images}, {"y": scores}, {"y": scores[:, ::-1]})
        assert len(book.pages()) == 12

    @pytest.mark.parametrize("color", ["rgb", "bgr"])
    @pytest.mark.parametrize("layout", ["nchw", "nhwc"])
    def test_colours_as_they_were_before_preprocessing(self, color: str, layout: str) -> None:
        settings = Preprocessing(color, 1 / 255, (0.485, 0.456, 0.406), (0.2, 0.3, 0.4), layout)
        fed = photo(3)[..., ::-1] if color == "bgr" else photo(3)
        book = self.book(1, preprocessing=settings)
        feed = {"x": settings.apply(fed[None], np.dtype(np.float32))}
        book.look(feed, {"y": np.array([[1.0, 0.0]])}, {"y": np.array([[0.0, 1.0]])})
        (page,) = book.pages()
        np.testing.assert_allclose(pixels(page.input), photo(3), atol=1)

    def test_large_images_become_small(self) -> None:
        book = self.book(1)
        image = np.moveaxis(photo(4, 500), -1, 0)[None] / np.float32(255)
        book.look({"x": image}, {"y": np.array([[1.0, 0.0]])}, {"y": np.array([[0.0, 1.0]])})
        shown = pixels(book.pages()[0].input)
        assert max(shown.shape) <= 96
        assert np.abs(shown.mean() - photo(4, 500).mean()) < 2
