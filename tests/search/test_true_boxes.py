"""A detector with labels, the whole way: what is counted, held, and said is precision by these labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import sepfactor
from sepfactor.errors import DataError
from tests.fit.small import smooth, weights
from tests.graph.build import model
from tests.timing import fit_briefly, times_by_macs

COUNT, SIDE = 48, 12


@pytest.fixture(autouse=True)
def _always_faster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    times_by_macs(monkeypatch)
    fit_briefly(monkeypatch)
    monkeypatch.chdir(tmp_path)


def detector() -> onnx.ModelProto:
    """A box of 0.9 pixels on each, of four classes, as YOLOv8 writes them."""
    values = weights(w1=(16, 3, 3, 3), w2=(4, 16, 3, 3))
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    boxes = np.stack([x.ravel(), y.ravel(), *np.full((2, SIDE * SIDE), 0.9)])
    same = "<pads = [1, 1, 1, 1]>"
    return model(
        f"""a = Conv {same} (x, w1, b1)
        r = Relu (a)
        f = Conv {same} (r, w2, b2)
        g = Mul (f, sharp)
        h = Sub (g, rare)
        s = Sigmoid (h)
        flat = Reshape (s, shape)
        y = Concat <axis = 1> (boxes, flat)""",
        f"float[1, 3, {SIDE}, {SIDE}] x",
        f"float[1, 8, {SIDE * SIDE}] y",
        **values,
        sharp=np.float32(4),
        rare=np.float32(6),
        shape=np.array([1, 4, -1]),
        boxes=np.float32(boxes[None]),
    )


def labels(proto: onnx.ModelProto, data: np.ndarray) -> Path:
    """What the network itself finds, by classes that the file counts from 0."""
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    boxes, samples, classes = [], [], []
    for number, image in enumerate(data):
        (table,) = session.run(None, {"x": image[None]})[0]
        best = table[4:].max(axis=0)
        for k in np.flatnonzero(best > 0.25):
            x, y, width, height = table[:4, k]
            boxes.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
            samples.append(number)
            classes.append(int(table[4:, k].argmax()))
    assert len(boxes) > 2 * len(data)
    np.savez("boxes.npz", boxes=np.array(boxes), samples=np.array(samples), classes=np.array(classes))
    return Path("boxes.npz")


@pytest.mark.parametrize("asked", ["20%", None])
def test_the_budget_is_of_precision_and_the_report_says_it(asked: str | None) -> None:
    proto, data = detector(), smooth(COUNT)
    options = {"data": {"x": data}, "labels": labels(proto, data), "bench_seconds": 0, "max_drop": asked}
    report = sepfactor.compress(proto, **options).report
    assert report.budget is not None
    text = report.budget.verdict.text
    assert f"at most {20 if asked else 1} point" in text
    assert "of mAP@0.5 lost" in text
    assert "of mAP@0.5:0.95 lost" in text or not report.totals.replaced
    assert report.accuracy is not None
    first, second = report.accuracy.boxes
    assert (first.kind, second.kind) == ("mAP@0.5", "mAP@0.5:0.95")
    assert first.original > 0.95
    assert first.found is not None
    if report.totals.replaced:
        quality = report.budget.quality
        assert quality is not None
        assert quality.kind == "mAP@0.5"
        assert quality.result == pytest.approx(first.result)
        assert first.original - first.pessimistic <= (0.2 if asked else 0.01)
    assert report.totals.replaced or not asked
    assert "mAP@0.5" in report.headline


def test_compare_says_it_too() -> None:
    proto, data = detector(), smooth(COUNT)
    worse = onnx.ModelProto.FromString(proto.SerializeToString())
    for tensor in worse.graph.initializer:
        if tensor.name == "rare":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(9), "rare"))
    options = {"data": {"x": data}, "labels": labels(proto, data)}
    same = sepfactor.compare(proto, proto, **options).accuracy.boxes
    assert [one.drop for one in same] == [0, 0]
    first, _ = sepfactor.compare(proto, worse, **options).accuracy.boxes
    assert first.drop > 0.02


def test_a_network_without_boxes_is_told_so() -> None:
    data = smooth(COUNT)
    file = labels(detector(), data)
    plain = model(
        "y = Conv (x, w, b)",
        f"float[1, 3, {SIDE}, {SIDE}] x",
        "float[1, 4, 10, 10] y",
        **weights(w=(4, 3, 3, 3)),
    )
    with pytest.raises(DataError, match="labels are boxes"):
        sepfactor.compress(plain, data={"x": data}, labels=file, bench_seconds=0)
