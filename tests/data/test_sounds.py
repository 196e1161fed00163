"""Sounds as inputs: every form of file says the same, and windows are those of the whole sound."""

from __future__ import annotations

import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import wavfile
from scipy.signal import resample_poly

from sepfactor.data import Feeds, InputSpec, Preprocessing, open_feeds, sounds
from sepfactor.data.sounds import Sound
from sepfactor.data.wave_files import open_wave
from sepfactor.errors import DataError, OptionError

RATE = 8000
BITS = {"u1": 8, "i2": 16, "i3": 24, "i4": 32, "f4": 32, "f8": 64}


def tones(frames: int = 1000, channels: int = 1, seed: int = 0) -> np.ndarray:
    """``(frames, channels)`` in −1..1, with both ends."""
    values = np.random.default_rng(seed).uniform(-1, 1, (frames, channels))
    values[0], values[1 % frames] = -1, 0
    return values


def save(
    path: Path, values: np.ndarray, kind: str = "i2", rate: int = RATE, extensible: bool = False
) -> Path:
    """Written by hand, chunk by chunk: wave and scipy lack some of the forms."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels, bits = values.shape[1], BITS[kind]
    if kind[0] == "f":
        data = values.astype(f"<{kind}").tobytes()
    elif kind == "u1":
        data = np.clip(np.rint(values * 128 + 128), 0, 255).astype("u1").tobytes()
    else:
        whole = np.clip(np.rint(values * 2.0 ** (bits - 1)), -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1)
        wide = np.ascontiguousarray(whole.astype("<i8")).view("u1").reshape(-1, 8)
        data = wide[:, : bits // 8].tobytes()
    code, size = 3 if kind[0] == "f" else 1, channels * bits // 8
    head = struct.pack("<HHIIHH", 0xFFFE if extensible else code, channels, rate, rate * size, size, bits)
    if extensible:
        guid = struct.pack("<H", code) + bytes.fromhex("000000001000800000aa00389b71")
        head += struct.pack("<HHI", 22, bits, 0) + guid
    chunks = [(b"LIST", b"odd"), (b"fmt ", head), (b"fact", bytes(4)), (b"data", data)]
    body = b"".join(name + struct.pack("<I", len(c)) + c + b"\0" * (len(c) % 2) for name, c in chunks)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body)
    return path


def hearing(*shape: Any, dtype: str = "f4") -> list[InputSpec]:
    return [InputSpec("x", np.dtype(dtype), shape)]


def fed(feeds: Feeds) -> np.ndarray:
    return np.concatenate([feed["x"].reshape(-1) for feed in feeds])


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", BITS)
def test_every_form_says_the_same(tmp_path: Path, kind: str, channels: int, extensible: bool) -> None:
    values = tones(channels=channels)
    file = open_wave(save(tmp_path / "a.wav", values, kind, extensible=extensible))
    assert (file.rate, file.channels, file.frames) == (RATE, channels, 1000)
    step = 2.0 ** -(min(BITS[kind], 24) - 1)
    np.testing.assert_allclose(file.read(0, 1000), values.mean(axis=1), atol=1.01 * step)
    np.testing.assert_array_equal(file.read(17, 400), file.read(0, 1000)[17:400])


def test_files_of_other_writers(tmp_path: Path) -> None:
    values = np.rint(tones(channels=2) * 32000).astype("<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
        file.writeframes(values.tobytes())
    wavfile.write(tmp_path / "b.wav", RATE, values)
    wavfile.write(tmp_path / "c.wav", RATE, (values / 32768).astype(np.float32))
    for name in "abc":
        found = open_wave(tmp_path / f"{name}.wav").read(0, 1000)
        np.testing.assert_allclose(found, values.mean(axis=1) / 32768, atol=1e-7)


@given(
    frames=st.integers(1, 3000),
    rates=st.tuples(*[st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 7, 44101])] * 2),
    size=st.integers(1, 700),
)
def test_windows_are_those_of_the_whole_sound_resampled(
    tmp_path_factory: pytest.TempPathFactory, frames: int, rates: tuple[int, int], size: int
) -> None:
    values = tones(frames).astype(np.float32)
    path = save(tmp_path_factory.mktemp("sounds") / "a.wav", values, "f4", rate=rates[0])
    sound = Sound(open_wave(path), rates[1])
    common = np.gcd(*rates)
    whole = resample_poly(values[:, 0].astype(np.float64), rates[1] // common, rates[0] // common)
    assert sound.length == len(whole)
    for start in range(0, min(len(whole), 1500), size):
        stop = min(start + size, len(whole))
        np.testing.assert_allclose(sound.read(start, stop), whole[start:stop], atol=2e-5)


def test_windows_follow_one_another(tmp_path: Path) -> None:
    a, b = tones(1000), tones(250, 2, 1)
    save(tmp_path / "sub" / "b.wav", b, "f4")
    save(tmp_path / "a.wav", a, "f4")
    feeds = open_feeds(tmp_path, hearing("batch", 1, 300))
    assert [feed["x"].shape for feed in feeds] == [(1, 1, 300)] * 4
    np.testing.assert_allclose(fed(feeds)[:900], a[:900, 0], atol=1e-6)
    np.testing.assert_allclose(fed(feeds)[900:], np.pad(b.mean(axis=1), (0, 50)), atol=1e-6)
    assert any("2 sounds into 4 windows of 300 values (0.0375 s); 1 of" in note for note in feeds.notes)
    assert any("the 8,000 Hz of their files" in note for note in feeds.notes)
    pairs = open_feeds(tmp_path, hearing(2, 300))
    assert [feed["x"].shape for feed in pairs] == [(2, 300)] * 2
    np.testing.assert_array_equal(fed(pairs), fed(feeds))


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        (("batch", "samples"), (1, 1000)),
        ((1, 1, None), (1, 1, 1000)),
        (("batch", "samples", 1), (1, 1000, 1)),
        (("samples",), (1000,)),
        ((1000,), (1000,)),
        (None, (1, 1000)),
        ((1, 1, 1, 500), (1, 1, 1, 500)),
    ],
)
def test_forms_of_the_input(tmp_path: Path, shape: Any, wanted: tuple[int, ...]) -> None:
    path = save(tmp_path / "a.wav", tones(), "f4")
    spec = InputSpec("x", np.dtype("f4"), shape)
    feeds = open_feeds(path, [spec])
    assert feeds[0]["x"].shape == wanted
    np.testing.assert_allclose(fed(feeds), tones()[:, 0], atol=1e-6)
    assert feeds.preprocessing is None


def test_a_rate_that_the_network_hears(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", tones(), "f4")
    save(tmp_path / "b.wav", tones(500), "f4", rate=2 * RATE)
    with pytest.raises(DataError, match=r"a\.wav is at 8,000 Hz, and .*b\.wav at 16,000 Hz: .*--sample-rate"):
        open_feeds(tmp_path, hearing("batch", 250))
    feeds = open_feeds(tmp_path, hearing("batch", 250), sample_rate=RATE)
    assert len(feeds) == 5
    assert any("Sounds of 16,000 Hz are resampled to 8,000 Hz" in note for note in feeds.notes)
    np.testing.assert_allclose(fed(feeds)[1000:], resample_poly(tones(500)[:, 0], 1, 2), atol=1e-5)


def test_labels_of_files_are_those_of_their_windows(tmp_path: Path) -> None:
    for name, frames in (("a", 600), ("b", 100), ("sub/c", 400)):
        save(tmp_path / "sounds" / f"{name}.wav", tones(frames))
    table = tmp_path / "labels.csv"
    for text in ("file,label\nb.wav,2\nc.wav,3\na.wav,1\n", "b,2\nc,3\na,1\n"):
        table.write_text(text)
        feeds = open_feeds(tmp_path / "sounds", hearing("batch", 200), labels=table)
        assert feeds.labels is not None
        assert feeds.labels.tolist() == [1, 1, 1, 2, 3, 3]
    table.write_text("file,label\nb.wav,2\na.wav,1\n")
    with pytest.raises(DataError, match=r"no row for 'sub/c\.wav'"):
        open_feeds(tmp_path / "sounds", hearing("batch", 200), labels=table)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (hearing("n", 100) * 2, "model with one input"),
        (hearing("n", "c", "t"), "along one axis, and the input 'x' .* fix open axes of length 1"),
        (hearing("n", 64, 100), "along one axis"),
        (hearing(), "along one axis"),
        (hearing("n", 100, dtype="i2"), "fed as floats"),
        (hearing(8, 600), "there are 1 windows of sound"),
        (hearing(2, "samples"), "differ in length: fix it with --input-shape"),
    ],
)
def test_models_that_take_no_sounds(tmp_path: Path, inputs: list[InputSpec], message: str) -> None:
    save(tmp_path / "a.wav", tones())
    if inputs[0].shape == (2, "samples"):
        save(tmp_path / "b.wav", tones(500))
    with pytest.raises(DataError, match=message):
        open_feeds(tmp_path, inputs)[0]


def test_options_are_of_their_kind_of_data(tmp_path: Path) -> None:
    path = save(tmp_path / "a.wav", tones())
    with pytest.raises(OptionError, match=r"--scale is for images, but .*a\.wav gives sounds"):
        open_feeds(path, hearing("n", 100), preprocessing=Preprocessing(scale=1))
    with pytest.raises(OptionError, match=r"--sample-rate is for sounds .* gives arrays"):
        open_feeds({"x": np.zeros((3, 100), np.float32)}, hearing("n", 100), sample_rate=RATE)
    for option in ({"letterbox": True}, {"resize": 9}):
        with pytest.raises(OptionError, match=rf"--{next(iter(option))} is for images in files.* no --data"):
            open_feeds(None, hearing(1, 3, 8, 8), preprocessing=Preprocessing(**option))
    with pytest.raises(OptionError, match=r"--sample-rate is for sounds .* no --data was given"):
        open_feeds(None, hearing("n", 100), sample_rate=RATE)
    assert open_feeds(
        None, hearing(1, 3, 8, 8), preprocessing=Preprocessing(scale=1, layout="nchw")
    ).synthetic
    np.save(tmp_path / "b.npy", np.zeros((2, 100)))
    with pytest.raises(DataError, match=r"both arrays \(b\.npy\) and sounds \(a\.wav\)"):
        open_feeds(tmp_path, hearing("n", 100))


def test_amounts_are_those_of_all_files_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sounds, "_MOST_WINDOWS", 30)
    save(tmp_path / "long.wav", tones(2000))
    for name in range(10):
        save(tmp_path / f"{name}.wav", tones(10))
    assert len(open_feeds(tmp_path, hearing("n", 100))) == 30
    save(tmp_path / "one more.wav", tones(10))
    with pytest.raises(
        DataError, match=r"long\.wav: all sounds together make 31 windows, this one the most of them \(20\)"
    ):
        open_feeds(tmp_path, hearing("n", 100))


@pytest.mark.parametrize("shape", [("n", "samples"), ("n", 20)])
def test_what_is_read_of_a_file_is_bounded(
    tmp_path: Path, shape: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a.wav", tones(2000, channels=3))  # 20 values at 80 Hz
    monkeypatch.setattr(sounds, "_MOST_NUMBERS", 6000)
    assert len(open_feeds(tmp_path, hearing(*shape), sample_rate=80)) == 1
    monkeypatch.setattr(sounds, "_MOST_NUMBERS", 5999)
    with pytest.raises(DataError, match=r"a\.wav: a window of the sound is 20 values, of 6,000 in the file"):
        open_feeds(tmp_path, hearing(*shape), sample_rate=80)


def damaged(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: b"", "ends early"),
        (lambda d: d[:-100], "ends early"),
        (lambda d: d[:60], "ends early"),
        (lambda d: b"OggS" + d[4:], "it is no WAVE file"),
        (lambda d: damaged(d, 32, struct.pack("<H", 0x55)), r"MP3, 16 bits each\): save it as whole"),
        (lambda d: damaged(d, 32, struct.pack("<H", 0x1234)), "code 4660"),
        (lambda d: damaged(d, 46, struct.pack("<H", 12)), "whole numbers, 12 bits each"),
        (lambda d: damaged(d, 34, struct.pack("<H", 0)), "0 channels"),
        (lambda d: damaged(d, 36, struct.pack("<I", 0)), "at 0 Hz"),
        (lambda d: damaged(d, 36, struct.pack("<I", 2**32 - 1)), "at 4294967295 Hz"),
        (lambda d: damaged(d, 44, struct.pack("<H", 3)), "3 bytes together"),
        (lambda d: damaged(d, len(d) - 2004, struct.pack("<I", 0)), "it is empty"),
    ],
)
def test_damaged_files(tmp_path: Path, damage: Any, message: str) -> None:
    whole = save(tmp_path / "a.wav", tones())
    whole.write_bytes(damage(whole.read_bytes()))
    with pytest.raises(DataError, match=rf"a\.wav: the sound cannot be read \(.*{message}"):
        open_feeds(tmp_path, hearing("n", 100))


def test_sizes_that_a_stream_leaves_open(tmp_path: Path) -> None:
    path = save(tmp_path / "a.wav", tones())
    path.write_bytes(damaged(path.read_bytes(), path.stat().st_size - 2004, b"\xff" * 4))
    assert open_wave(path).frames == 1000


def test_a_value_that_is_none(tmp_path: Path) -> None:
    values = tones()
    values[500] = np.nan
    save(tmp_path / "a.wav", values, "f4")
    with pytest.raises(DataError, match=r"a\.wav.*NaN"):
        [*open_feeds(tmp_path, hearing("n", 100))]
