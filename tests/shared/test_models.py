"""Networks of others, from ``../shared``: each ends in a valid model, or with a reason."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
import pytest
from click.testing import CliRunner

from sepfactor.cli import main
from tests.conftest import SHARED
from tests.timing import decide_times, fit_briefly

MODELS = sorted((SHARED / "models").glob("*.onnx")) or [SHARED / "models" / "none.onnx"]
NEEDS = {"audio_silero_mini_16k": ("--input-shape", "input:1,16000")}
BY_BUDGET = ("carvana_unet_upsample_small", "cifar10_cnn4_winml", "mnist8_cntk")
"""Chosen as by default; the larger ones layer by layer and as they are, in seconds instead of minutes."""
AT_ONE_RANK = (
    "audio_basic_pitch_nmp",
    "cifar10_resnet20_akamaster",
    "espcn_super_resolution_10",
    "retinaface_mobilenet025",
    "squeezenet11_imagenet_fp16",
    "squeezenet11_imagenet_fp32",
    "style_candy",
    "ultraface_rfb320",
    "waifu2x_upconv7_noise2_scale2x",
)
"""Many layers, or half a second a run: one scheme at one rank has to do, and nothing is timed."""


@pytest.mark.shared
@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_compress(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit_briefly(monkeypatch)
    if model.stem in AT_ONE_RANK:
        decide_times(monkeypatch, 2.0)
    before = model.read_bytes()
    out = tmp_path / "out.onnx"
    done = CliRunner().invoke(
        main,
        [
            *("compress", str(model), "-o", str(out), "--limit", "2"),
            *NEEDS.get(model.stem, ()),
            *_choice(model.stem),
        ],
    )
    assert done.exit_code in (0, 4), done.output
    assert "Traceback" not in done.output
    assert "unexpectedly" not in done.stderr
    assert model.read_bytes() == before
    assert out.exists() == (done.exit_code == 0)
    if done.exit_code == 0:
        _check(model, out)


def _choice(name: str) -> tuple[str, ...]:
    if name in AT_ONE_RANK:
        return (
            "--scheme",
            "spatial-vertical",
            "--rank",
            "16",
            "--bench-seconds",
            "0",
            "--no-tidy",
            "--no-refit",
        )
    briefly = ("--bench-seconds", "0.05")
    return briefly if name in BY_BUDGET else (*briefly, "--max-error", "0.05", "--no-tidy")


def _check(model: Path, out: Path) -> None:
    """As valid as the original was, and of the same interface."""
    try:
        onnx.checker.check_model(str(model), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        pass
    else:
        onnx.checker.check_model(str(out), full_check=True)
    before, after = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in (model, out)
    )
    for one, other in (
        (before.get_inputs(), after.get_inputs()),
        (before.get_outputs(), after.get_outputs()),
    ):
        assert [(v.name, v.type, v.shape) for v in one] == [(v.name, v.type, v.shape) for v in other]
