"""Made-up inputs: repeatable, independent of each other, and a little like the real ones."""

from itertools import pairwise

import numpy as np
import pytest

from sepfactor.data import InputSpec, Preprocessing, open_feeds
from sepfactor.data.synthetic import dead_leaves, pink_noise
from sepfactor.errors import DataError


def made(*shape, dtype="f4", **options):
    return open_feeds(None, [InputSpec("x", np.dtype(dtype), shape)], **options)


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


def test_runs_do_not_depend_on_each_other():
    feeds, more = made(1, 3, 32, 32), made(1, 3, 32, 32, samples=40)
    assert feeds.synthetic
    assert feeds.labels is None
    assert feeds.description == "synthetic images, seed 0: 16 samples"
    assert (feeds[5]["x"] == more[5]["x"]).all()
    assert (feeds[5]["x"] == feeds.take([5])[0]["x"]).all()
    assert (feeds[5]["x"] != feeds[6]["x"]).any()
    assert (feeds[5]["x"] != made(1, 3, 32, 32, seed=1)[5]["x"]).any()
    assert len(made(1, 3, 8, 8, samples=9, limit=4)) == 4


def test_pictures_resemble_photographs():
    pictures = np.stack([dead_leaves(224, 224, 3, np.random.default_rng(n)) for n in range(6)])
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert pictures.std() > 0.15
    assert correlation(pictures[:, 1:], pictures[:, :-1]) > 0.8
    assert correlation(pictures[:, :, 1:], pictures[:, :, :-1]) > 0.8
    assert correlation(pictures[..., 0], pictures[..., 2]) > 0.3
    # Power falls by about f⁻², that of photographs, over the middle of the spectrum.
    gray = pictures.mean(-1)
    power = np.mean(np.abs(np.fft.fft2(gray - gray.mean((1, 2), keepdims=True))) ** 2, 0)
    radius = np.hypot(np.fft.fftfreq(224)[:, None], np.fft.fftfreq(224))
    edges = np.geomspace(2 / 224, 0.16, 8)
    rings = [(radius >= a) & (radius < b) for a, b in pairwise(edges)]
    slope = np.polyfit([np.log(radius[r].mean()) for r in rings], [np.log(power[r].mean()) for r in rings], 1)
    assert -3 < slope[0] < -1.3


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 7), (8, 8), (40, 9)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_size(size, channels):
    picture = dead_leaves(*size, channels, np.random.default_rng(0))
    assert picture.shape == (*size, channels)
    assert np.isfinite(picture).all()


def test_values_are_in_the_range_the_model_expects():
    plain = made(1, 3, 32, 32)[0]["x"]
    settings = Preprocessing(mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))
    feeds = made(1, 3, 32, 32, preprocessing=settings)
    mean, std = (np.reshape(v, (3, 1, 1)) for v in (settings.mean, settings.std))
    np.testing.assert_allclose(feeds[0]["x"], (plain - mean) / std, atol=1e-5)
    assert feeds.preprocessing == settings
    pixels = made(1, 3, 32, 32, dtype="u1")
    assert pixels.preprocessing.scale == 1
    np.testing.assert_allclose(pixels[0]["x"], plain * 255, atol=0.51)


@pytest.mark.parametrize(
    ("declared", "found"),
    [
        (("n", 3, "h", "w"), (1, 3, 224, 224)),
        (("n", "c", "h", "w"), (1, 3, 224, 224)),
        ((2, 1, 20, "w"), (2, 1, 20, 224)),
        ((None, 20, 30, 3), (1, 20, 30, 3)),
        ((None, None, None, 3), (1, 224, 224, 3)),
        ((1, 4, 31, 47), (1, 4, 31, 47)),
        ((1, 64, "h", "w"), (1, 64, 224, 224)),
        (("n", 80, "t"), (1, 80, 224)),
        (("n", 1000, 1), (1, 1000, 1)),
        (("n", "t"), (1, 16_000)),
        ((None, None), (1, 16_000)),
        (("n", 7), (1, 7)),
        (("n",), (1,)),
        ((), ()),
        ((1, 2, 3, 8, 8), (1, 2, 3, 8, 8)),
    ],
)
def test_open_sizes(declared, found):
    feed = made(*declared, samples=1)[0]["x"]
    assert feed.shape == found
    assert feed.dtype == np.float32


def test_a_name_that_comes_first_anywhere_is_the_batch():
    specs = [InputSpec(n, np.dtype("f4"), s) for n, s in (("x", ("b", "t")), ("state", (2, "b", 128)))]
    assert {name: value.shape for name, value in open_feeds(None, specs)[0].items()} == {
        "x": (1, 16_000),
        "state": (2, 1, 128),
    }


def test_nhwc_is_seen_and_recorded():
    assert made(1, 20, 30, 3).preprocessing.layout == "nhwc"


def test_other_inputs():
    features = made(1, 16, 64, 64)
    assert features.description == "synthetic noise, seed 0: 16 samples"
    assert features.preprocessing is None
    values = features[0]["x"]
    assert values.mean() == pytest.approx(0, abs=1e-4)
    assert values.std() == pytest.approx(1, abs=1e-4)
    assert correlation(values[..., 1:], values[..., :-1]) > 0.6
    sound = made(1, 1, 4000)[0]["x"]
    assert correlation(sound[..., 1:], sound[..., :-1]) > 0.8
    flat = np.concatenate([feed["x"] for feed in made(1, 100)])
    assert abs(correlation(flat[:, 1:], flat[:, :-1])) < 0.1
    assert set(np.unique(made(1, 100, dtype="i8")[0]["x"])) == {0, 1}
    assert made(1, 100, dtype="?")[0]["x"].dtype == np.bool_


def test_several_inputs():
    specs = [
        InputSpec("image", np.dtype(np.float32), (2, 3, 16, 16)),
        InputSpec("flag", np.dtype(np.int64), (2,)),
    ]
    feeds = open_feeds(None, specs)
    assert {name: array.shape for name, array in feeds[0].items()} == {"image": (2, 3, 16, 16), "flag": (2,)}
    assert feeds.description == "synthetic images, seed 0: 16 runs of 2 samples"


def test_unknown_rank_asks_for_a_shape():
    spec = InputSpec("x", np.dtype(np.float32), None)
    with pytest.raises(DataError, match=r"input 'x'.*--input-shape x:"):
        open_feeds(None, [spec])
    assert open_feeds(None, [spec], shapes={"x": (1, 3, 8, 8)})[0]["x"].shape == (1, 3, 8, 8)


def test_pink_noise_falls_as_one_over_f():
    noise = pink_noise((200, 256), (1,), np.random.default_rng(0))
    amplitude = np.sqrt(np.mean(np.abs(np.fft.rfft(noise)) ** 2, 0))[1:]
    slope = np.polyfit(np.log(np.arange(1, 129)), np.log(amplitude), 1)[0]
    assert slope == pytest.approx(-1, abs=0.05)
