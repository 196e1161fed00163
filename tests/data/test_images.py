"""Images to inputs, to the last pixel."""

import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sepfactor.data import InputSpec, Preprocessing, open_feeds
from sepfactor.data.folders import find_files
from sepfactor.data.images import SUFFIXES
from sepfactor.data.placing import fitted, place, resized
from sepfactor.errors import DataError, OptionError

PIXELS = np.array(
    [[[0, 51, 255], [255, 0, 51], [51, 51, 51]], [[102, 204, 0], [0, 0, 0], [255, 255, 255]]], np.uint8
)  # 2 × 3


def image_input(*shape, dtype="f4"):
    return [InputSpec("x", np.dtype(dtype), shape)]


@pytest.fixture
def folder(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    return tmp_path


def only(folder, *shape, dtype="f4", **settings):
    feeds = open_feeds(folder, image_input(*shape, dtype=dtype), preprocessing=Preprocessing(**settings))
    return feeds[0]["x"][0]


def test_default_is_rgb_between_0_and_1(folder):
    feeds = open_feeds(folder, image_input("n", 3, "h", "w"))
    assert feeds.description == f"{folder}: 1 sample"
    assert asdict(feeds.preprocessing) == {
        "color": "rgb",
        "scale": 1 / 255,
        "mean": (),
        "std": (),
        "layout": "nchw",
        "resize": None,
        "letterbox": False,
        "border": 114,
    }
    assert feeds[0]["x"].dtype == np.float32
    np.testing.assert_allclose(feeds[0]["x"][0], PIXELS.transpose(2, 0, 1) / 255, rtol=1e-6)


def test_mean_and_std_are_per_channel_in_scaled_units(folder):
    found = only(folder, 1, 3, 2, 3, scale=0.5, mean=(1, 2, 4), std=(0.5, 2, 0.25))
    wanted = (PIXELS * 0.5 - [1, 2, 4]) / [0.5, 2, 0.25]
    assert (found == wanted.transpose(2, 0, 1)).all()
    found = only(folder, 1, 3, 2, 3, scale=1, mean=(1,), std=(2,))
    assert (found == (PIXELS.transpose(2, 0, 1) - 1.0) / 2).all()


@pytest.mark.parametrize(
    ("settings", "mend"),
    [
        ({"mean": (127,), "std": (128,)}, r"0\.\.1, .* Say --scale 1 "),
        ({"mean": (123.7, 116.3, 103.5)}, "mean 123.7, 116.3, 103.5 .* Say --scale 1 "),
        ({"std": (58.4,)}, "Say --scale 1 "),
        ({"scale": 1, "mean": (1000,)}, "in that range"),
        ({"scale": 1, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}, "Leave --scale out"),
        ({"scale": 1, "mean": (0.5,)}, "Leave --scale out"),
        ({"scale": 1, "std": (0.5,)}, "Leave --scale out"),
    ],
)
def test_mean_and_std_in_other_units_than_the_pixels(settings, mend):
    with pytest.raises(OptionError, match=mend):
        Preprocessing(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
        {"mean": (1,), "std": (0.5,)},
        {"mean": (-0.5,)},
        {"scale": 1 / 127.5, "mean": (1,)},
        {"scale": 1, "mean": (127,), "std": (128,)},
        {"scale": 1, "mean": (103.94, 116.78, 123.68)},
        {"scale": 1, "mean": (0, 0, 0), "std": (1, 1, 1)},
        {"scale": 1, "mean": (0.5,), "std": (255,)},
        {"scale": 256 / 255},
    ],
)
def test_units_that_may_be_meant(settings):
    assert Preprocessing(**settings).mean == settings.get("mean", ())


def test_layout_and_color(folder):
    assert (only(folder, None, None, None, 3, scale=1, layout="nhwc") == PIXELS).all()
    bgr = only(folder, None, 3, None, None, scale=1, color="bgr")
    assert (bgr == PIXELS[..., ::-1].transpose(2, 0, 1)).all()
    gray = only(folder, None, 1, None, None, scale=1)
    assert gray.shape == (1, 2, 3)
    assert gray == pytest.approx((PIXELS @ [0.299, 0.587, 0.114])[None], abs=1)


def test_integer_inputs_take_plain_pixels(folder):
    feeds = open_feeds(folder, image_input(1, 3, 2, 3, dtype="u1"))
    assert feeds.preprocessing.scale == 1
    assert (feeds[0]["x"][0] == PIXELS.transpose(2, 0, 1)).all()
    with pytest.raises(OptionError, match=r"'x' \(int32.*whole numbers"):
        only(folder, 1, 3, 2, 3, dtype="i4")
    with pytest.raises(OptionError, match="whole numbers"):
        only(folder, 1, 3, 2, 3, dtype="u1", mean=(1,))


def test_centre_crop(tmp_path):
    pixels = np.arange(6 * 10, dtype=np.uint8).reshape(6, 10)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = only(tmp_path, 1, 1, 4, 4, scale=1, resize=6)
    assert (found[0] == pixels[1:5, 3:7]).all()
    assert only(tmp_path, 1, 1, 3, 3).shape == (1, 3, 3)
    assert only(tmp_path, 1, 1, 12, 30).shape == (1, 12, 30)
    assert only(tmp_path, 1, 1, None, None, resize=3).shape == (1, 3, 5)
    assert only(tmp_path, 1, 1, 4, None).shape == (1, 4, 6)
    with pytest.raises(OptionError, match="resize is 3"):
        only(tmp_path, 1, 1, 4, 4, resize=3)


sides = st.integers(1, 500)


@given(size=st.tuples(sides, sides), crop=st.tuples(sides, sides), shorter=st.none() | sides)
def test_resized_covers_the_crop_and_keeps_the_proportions(size, crop, shorter):
    height, width = resized(size, shorter, crop)
    assert height >= crop[0]
    assert width >= crop[1]
    assert abs(height * size[1] - width * size[0]) <= max(size)
    if shorter is None:
        assert height == crop[0] or width == crop[1]
    elif shorter >= max(crop):
        assert min(height, width) == shorter


def ultralytics(height, width, size):
    """Rows, columns, and borders above, below, left and right, as ``LetterBox`` of ultralytics 8 has them."""
    ratio = min(size[0] / height, size[1] / width)
    new = round(height * ratio), round(width * ratio)
    dh, dw = (size[0] - new[0]) / 2, (size[1] - new[1]) / 2
    return *new, round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1)


@given(size=st.tuples(sides, sides), view=st.tuples(sides, sides))
def test_a_letterbox_lies_where_that_of_yolo_does(size, view):
    placed = place(size, view, Preprocessing(letterbox=True))
    wanted = ultralytics(*size, view)
    tall, wide = placed.size
    assert (tall, wide) == (max(1, wanted[0]), max(1, wanted[1])) == fitted(size, view)
    assert placed.seen == view
    if min(wanted[:2]) > 0:
        assert (-placed.start[0], -placed.start[1]) == (wanted[2], wanted[4])
        assert view[0] - tall + placed.start[0] == wanted[3]
        assert view[1] - wide + placed.start[1] == wanted[5]
    cut = placed.cut(np.ones((tall, wide, 1), np.uint8), 7)
    assert cut.shape == (*view, 1)
    assert (cut == 1).sum() == tall * wide
    assert (cut == 7).sum() == view[0] * view[1] - tall * wide


@pytest.mark.parametrize(("settings", "border"), [({}, 114), ({"border": 0}, 0)])
def test_letterbox(folder, settings, border):
    for color in ("rgb", "bgr"):
        found = only(folder, 1, 3, 5, 3, scale=1, letterbox=True, color=color, **settings)
        assert (found[:, 1:3] == PIXELS[..., :: -1 if color == "bgr" else 1].transpose(2, 0, 1)).all()
        assert (found[:, [0, 3, 4]] == border).all()
    gray = only(folder, 1, 1, 2, 6, scale=1, letterbox=True, **settings)
    assert (gray[..., [0, 4, 5]] == border).all()
    found = only(folder, 1, 3, 5, 3, letterbox=True, mean=(0.5,), std=(0.5,), **settings)
    assert found[:, 0] == pytest.approx((border / 255 - 0.5) / 0.5)


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((1, 3, "h", 4), {"letterbox": True}, "leaves height or width open: say with --input-shape"),
        ((1, 3, 4, 4), {"letterbox": True, "resize": 8}, "leave one out"),
        ((1, 3, 4, 4), {"border": 3}, "only a letterbox has borders"),
        ((1, 3, 4, 4), {"letterbox": True, "border": 256}, "border is 256"),
    ],
)
def test_letterboxes_that_cannot_be(folder, shape, settings, message):
    with pytest.raises(OptionError, match=message):
        only(folder, *shape, **settings)


def test_given_shapes_fix_the_crop(folder):
    feeds = open_feeds(folder, image_input("n", 3, "h", "w"), shapes={"x": (1, 3, 2, 2)})
    assert feeds[0]["x"].shape == (1, 3, 2, 2)


def test_folder_is_sorted_recursive_and_batched(tmp_path):
    for n, name in enumerate(["b/1.png", "a/2.PNG", "a/10.bmp", "c.webp", ".hidden.png"]):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (2, 2), n * 10).save(path)
    plain = Preprocessing(scale=1)
    feeds = open_feeds(tmp_path, image_input("n", 1, 2, 2), preprocessing=plain)
    assert [feed["x"].mean() for feed in feeds] == pytest.approx([20, 10, 0, 30], abs=1)
    pairs = open_feeds(tmp_path, image_input(2, 1, 2, 2), preprocessing=plain, labels=[1, 2, 3, 4])
    assert [feed["x"].shape for feed in pairs] == [(2, 1, 2, 2)] * 2
    assert pairs.labels.tolist() == [[1, 2], [3, 4]]
    assert pairs.description == f"{tmp_path}: 2 runs of 2 samples"


def test_a_single_image(folder):
    feeds = open_feeds(folder / "a.png", image_input("n", 3, "h", "w"))
    assert feeds.description == f"{folder / 'a.png'}: 1 sample"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16"])
def test_modes(tmp_path, mode):
    suffix = "tif" if mode in ("CMYK", "PA") else "png"
    if mode == "I;16":
        image = Image.fromarray(np.full((2, 2), 65535, np.uint16))
    else:
        image = Image.new("RGB", (2, 2), (255, 255, 255)).convert("RGBA" if mode == "PA" else mode)
    path = tmp_path / f"a.{suffix}"
    image.save(path)
    path.rename(tmp_path / "a.png")
    for channels in (1, 3):
        assert only(tmp_path, 1, channels, 2, 2) == pytest.approx(1)


def test_upright_as_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right by 90°
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    found = only(tmp_path, 1, 3, None, None, scale=1)
    assert (found == np.rot90(PIXELS, -1).transpose(2, 0, 1)).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"not an image", r"b\.png: the image cannot be read"), (None, r"b\.png: the image cannot be read")],
)
def test_unreadable_images(folder, content, message):
    Image.effect_noise((64, 64), 50).save(folder / "b.png")
    truncated = (folder / "b.png").read_bytes()[:400]
    (folder / "b.png").write_bytes(truncated if content is None else content)
    with pytest.raises(DataError, match=message):
        list(open_feeds(folder, image_input("n", 3, 2, 2)))


def test_32_bit_pixels(tmp_path):
    Image.new("F", (2, 2)).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: pixels are of mode F"):
        only(tmp_path, 1, 3, 2, 2)


def test_without_pillow(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r"a\.png.*pip install pillow"):
        open_feeds(folder, image_input("n", 3, 2, 2))


def test_models_that_take_no_images(folder):
    for inputs, message in [
        (image_input(1, 3, 2, 3) * 2, "model with one input"),
        (image_input(1, 6), "four axes, but the input 'x' .* has 2"),
        (image_input(1, 4, 8, 3), r"rgb images in layout nchw have 3 channels.*has 4: set layout to nhwc"),
        (image_input(1, 4, 8, 8), r"has 4: give a \.npz"),
        (image_input(2, 3, 2, 3), r"there are 1 images, fewer than the batch of 2"),
    ]:
        with pytest.raises(DataError, match=message):
            open_feeds(folder, inputs)
    with pytest.raises(DataError, match=r"gray images.*set color to auto"):
        only(folder, 1, 3, 2, 3, color="gray")
    with pytest.raises(OptionError, match=r"mean has 2 values.*'x'.*3 channels"):
        only(folder, 1, 3, 2, 3, mean=(1, 2))


def test_images_of_different_size_in_one_run(folder):
    Image.new("RGB", (5, 5)).save(folder / "b.png")
    feeds = open_feeds(folder, image_input(2, 3, "h", "w"))
    with pytest.raises(DataError, match=r"b\.png: the image becomes \(3, 5, 5\), but a\.png .*\(3, 2, 3\)"):
        feeds[0]


def test_images_and_arrays_in_one_folder(folder):
    np.save(folder / "a.npy", [1])
    with pytest.raises(DataError, match=r"both arrays \(a\.npy\) and images \(a\.png\)"):
        open_feeds(folder, image_input("n", 3, 2, 2))
    assert open_feeds(folder, image_input("n", 3, 2, 2), labels=folder / "a.npy").labels.tolist() == [1]


@pytest.mark.parametrize(
    "settings",
    [
        {"color": "cmyk"},
        {"layout": "chwn"},
        {"scale": 0},
        {"scale": float("nan")},
        {"std": (0.0,)},
        {"mean": (float("inf"),)},
        {"resize": 0},
    ],
)
def test_senseless_preprocessing(settings):
    with pytest.raises(OptionError, match=next(iter(settings))):
        Preprocessing(**settings)


def test_labels_by_file_name(tmp_path):
    folder = tmp_path / "photos"
    for name in ["a/1.png", "b/1.png", "b/2.png", "3.png"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(folder / name)
    table = tmp_path / "labels.csv"
    spec = image_input("n", 1, 2, 2)
    table.write_text(
        "file,label,part\nx/3.png,3,t\nphotos/b/2.png,2,t\nb/1.png,21,t\na\\1.png,11,t\nz.png,0,t"
    )
    # Sorted: 3.png, a/1.png, b/1.png, b/2.png
    assert open_feeds(folder, spec, labels=table).labels.tolist() == [3, 11, 21, 2]
    table.write_text("file,label\n3.png,3\n2.png,2\n1.png,1\n")
    with pytest.raises(DataError, match=r"labels\.csv: there is no row for 'a/1\.png'"):
        open_feeds(folder, spec, labels=table)
    table.write_text("3.png,3\n3.png,4\n")
    with pytest.raises(DataError, match=r"'3\.png' has the labels 3 and 4"):
        open_feeds(folder, spec, labels=table)


@pytest.mark.parametrize("sizes", [("h", "w"), (None, None), (5, 6), ("h", 6)])
@pytest.mark.parametrize("asked", ["nchw", "nhwc"])
def test_the_shape_of_the_input_shows_its_layout(folder, sizes, asked):
    """No picture is cut to as many columns as it has channels."""
    for shape, layout in (((1, *sizes, 3), "nhwc"), ((1, 3, *sizes), "nchw")):
        feeds = open_feeds(folder, image_input(*shape), preprocessing=Preprocessing(layout=asked))
        assert feeds.preprocessing.layout == layout
        (feed, *_) = feeds
        assert feed["x"].shape[3 if layout == "nhwc" else 1] == 3
        assert min(feed["x"].shape[1:3] if layout == "nhwc" else feed["x"].shape[2:]) > 1
        assert any("layout" in note for note in feeds.notes) == (layout != asked)


@pytest.mark.parametrize("suffix", [".tif", ".TIFF"])
def test_tiff_is_data_and_what_notebooks_keep_is_not(suffix: str, tmp_path: Path) -> None:
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "of a class").mkdir()
    for name in (f"one{suffix}", f"of a class/two{suffix}", f".ipynb_checkpoints/one-checkpoint{suffix}"):
        Image.new("RGB", (8, 8), (10, 20, 30)).save(tmp_path / name)
    found = find_files(tmp_path, SUFFIXES)
    assert [path.stem for path in found] == ["two", "one"]
