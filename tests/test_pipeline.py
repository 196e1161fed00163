"""``sepfactor.compress``, ``inspect`` and ``bench`` from Python: the same engine, and no printing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

import sepfactor
from tests import networks
from tests.timing import decide_times

QUICK: dict[str, Any] = {"bench_seconds": 0, "limit": 3}


@pytest.fixture(autouse=True)
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Path]:
    """An empty working directory, candidates that always measure faster, and nothing printed at the end."""
    monkeypatch.chdir(tmp_path)
    decide_times(monkeypatch, 2.0)
    yield tmp_path
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def data() -> dict[str, np.ndarray]:
    return {"image": networks.images(5)}


SOURCES: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "text": str,
    "bytes": Path.read_bytes,
    "proto": onnx.load,
    "ir": ir.load,
}


class TestSources:
    @pytest.mark.parametrize("kind", SOURCES)
    def test_all_give_the_same_bytes(self, kind: str, folder: Path, data: dict[str, np.ndarray]) -> None:
        onnx.save(networks.plain(), "model.onnx")
        before = Path("model.onnx").read_bytes()
        sepfactor.compress("model.onnx", "expected.onnx", data=data, max_error=0.5, **QUICK)
        source = SOURCES[kind](folder / "model.onnx")
        result = sepfactor.compress(source, "found.onnx", data=data, max_error=0.5, **QUICK)
        assert result.report.totals.replaced == 2
        assert _but_for_the_source("found.onnx") == _but_for_the_source("expected.onnx")
        if kind != "ir":  # which has no bytes of its own
            assert Path("found.onnx").read_bytes() == Path("expected.onnx").read_bytes()
        assert Path("model.onnx").read_bytes() == before

    @pytest.mark.parametrize("kind", ["proto", "ir"])
    def test_what_is_handed_in_is_left_as_it_was(self, kind: str, folder: Path) -> None:
        onnx.save(networks.plain(), "model.onnx")
        source = SOURCES[kind](folder / "model.onnx")
        text = str(source)
        sepfactor.compress(source, max_error=0.9, **QUICK)
        sepfactor.inspect(source, limit=1)
        sepfactor.bench([source], limit=1, bench_seconds=0)
        assert str(source) == text

    def test_arrays_handed_in_are_left_as_they_were(self, data: dict[str, np.ndarray]) -> None:
        copy = data["image"].copy()
        sepfactor.compress(networks.plain(), data=data, **QUICK)
        np.testing.assert_array_equal(data["image"], copy)

    def test_weights_in_another_file(self, data: dict[str, np.ndarray]) -> None:
        onnx.save(networks.plain(), "model.onnx")
        onnx.save(
            networks.plain(), "far.onnx", save_as_external_data=True, location="far.bin", size_threshold=0
        )
        near, far = (
            sepfactor.compress(name, f"{name}.out", data=data, max_error=0.5, **QUICK)
            for name in ("model.onnx", "far.onnx")
        )
        assert near.report.layers == _without_times(far.report.layers, near.report.layers)
        assert _but_for_the_source("far.onnx.out") == _but_for_the_source("model.onnx.out")


def _but_for_the_source(file: str) -> bytes:
    """All bytes of a network but the hash of the file that it was made of."""
    proto = onnx.load(file)
    (source,) = [entry for entry in proto.metadata_props if entry.key == "sepfactor.source"]
    proto.metadata_props.remove(source)
    return proto.SerializeToString()


def _without_times(layers: Any, like: Any) -> Any:
    """``layers`` with the milliseconds of ``like``: profiles differ from run to run."""
    times = ("milliseconds_before", "milliseconds_after")
    return tuple(
        one.model_copy(update={name: getattr(other, name) for name in times})
        for one, other in zip(layers, like, strict=True)
    )


class TestDeterminism:
    @pytest.mark.parametrize("model", [networks.plain, networks.two_inputs, networks.of_whole_numbers])
    def test_the_same_seed_gives_the_same_bytes(self, model: Callable[[], onnx.ModelProto]) -> None:
        found = []
        for name in ("a.onnx", "b.onnx"):
            sepfactor.compress(model(), name, seed=3, max_error=0.5, **QUICK)
            found.append(Path(name).read_bytes())
        assert found[0] == found[1]

    def test_reports_are_the_same_but_for_the_times(self, data: dict[str, np.ndarray]) -> None:
        one, other = (
            sepfactor.compress(networks.plain(), data=data, max_error=0.5, **QUICK).report for _ in range(2)
        )
        assert _without_times(one.layers, other.layers) == other.layers
        assert one.accuracy == other.accuracy


class TestResult:
    def test_without_an_output_nothing_is_written(self, folder: Path) -> None:
        result = sepfactor.compress(networks.plain(), **QUICK)
        assert result.path is None
        assert result.report.output is None
        assert list(folder.iterdir()) == []

    def test_the_model_is_what_was_written(self, data: dict[str, np.ndarray]) -> None:
        result = sepfactor.compress(networks.plain(), "out.onnx", data=data, max_error=0.5, **QUICK)
        assert result.path == Path("out.onnx")
        assert result.report.output == "out.onnx"
        written, returned = (
            onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, data)[0]
            for model in ("out.onnx", ir.to_proto(result.model).SerializeToString())
        )
        np.testing.assert_array_equal(written, returned)

    def test_it_says_in_a_line_what_happened(self) -> None:
        result = sepfactor.compress(networks.plain(), bench_seconds=0.01, limit=1, max_error=0)
        assert repr(result).startswith("<Result 1 of 2 convolutions replaced, ")
        untimed = sepfactor.compress(networks.plain(), max_error=0, **QUICK)
        assert repr(untimed) == "<Result 1 of 2 convolutions replaced, not timed>"

    def test_where_nothing_is_worth_it_nothing_is_written(self, folder: Path) -> None:
        result = sepfactor.compress(networks.inseparable(), "out.onnx", **QUICK)
        assert result.path is None
        assert result.report.totals.replaced == 0
        assert list(folder.iterdir()) == []

    def test_the_report_survives_json(self) -> None:
        report = sepfactor.compress(networks.plain(), bench_seconds=0.01, limit=1).report
        assert type(report).model_validate_json(report.to_json()).to_json() == report.to_json()

    def test_new_nodes_say_what_they_are(self) -> None:
        sepfactor.compress(networks.plain(), "out.onnx", max_error=0, **QUICK)
        graph = onnx.load("out.onnx").graph
        marked = [{p.key: p.value for p in node.metadata_props} for node in graph.node if node.metadata_props]
        assert len(marked) >= 2
        for props in marked:
            assert {"sepfactor.scheme", "sepfactor.rank", "sepfactor.output_error"} <= set(props)
        last = [node.name for node in graph.node if "head.last/sep" in node.name]
        assert not last

    def test_every_kind_of_data(self, folder: Path, data: dict[str, np.ndarray]) -> None:
        samples = [{"image": image[None]} for image in data["image"]]
        given: list[Any] = [data, samples, iter(samples), lambda: iter(samples), _Reader(samples)]
        for kind in given:
            report = sepfactor.compress(networks.plain(), data=kind, max_error=0.5, bench_seconds=0).report
            assert not report.data.synthetic
            assert report.data.fitted_on == 3
            assert report.data.samples == 2  # those held out
            json.loads(report.to_json())


class _Reader:
    """A CalibrationDataReader as onnxruntime has it."""

    def __init__(self, samples: list[dict[str, np.ndarray]]) -> None:
        self._left = iter(samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._left, None)


class TestErrors:
    @pytest.mark.parametrize(
        ("call", "code"),
        [
            (lambda: sepfactor.compress("nowhere.onnx"), 1),
            (lambda: sepfactor.compress(b"not a model"), 1),
            (lambda: sepfactor.compress(onnx.ModelProto()), 1),
            (lambda: sepfactor.compress(networks.plain(), rank=0), 2),
            (lambda: sepfactor.compress(networks.plain(), no_such_option=0), 2),
            (lambda: sepfactor.compress(networks.without_conv()), 4),
            (lambda: sepfactor.compress(networks.broken_weights(np.nan)), 1),
            (lambda: sepfactor.compress(networks.plain(), data={"image": np.zeros(3)}), 1),
            (lambda: sepfactor.inspect(networks.without_conv()), 4),
            (lambda: sepfactor.bench([]), 2),
        ],
    )
    def test_are_of_one_kind(self, call: Callable[[], object], code: int) -> None:
        with pytest.raises(sepfactor.SepfactorError) as caught:
            call()
        assert caught.value.exit_code == code

    def test_progress_is_told_of_every_step(self) -> None:
        told: list[tuple[str, int, int]] = []
        sepfactor.compress(
            networks.plain(), **QUICK, progress=lambda step, done, total, _: told.append((step, done, total))
        )
        steps = {"observe", "propose", "sensitivity", "plan", "compare", "time"}
        assert steps <= {step for step, _, _ in told}
        assert all(0 <= done <= total for _, done, total in told)


def test_a_result_is_saved_later_whole_and_over_nothing(data: dict[str, np.ndarray]) -> None:
    result = sepfactor.compress(networks.plain(), data=data, max_error=0.5, **QUICK)
    assert result.path is None
    assert result.save("later.onnx") == Path("later.onnx")
    written = sepfactor.compress(networks.plain(), "now.onnx", data=data, max_error=0.5, **QUICK)
    assert written.path is not None
    assert Path("later.onnx").read_bytes() == written.path.read_bytes()
    with pytest.raises(sepfactor.SepfactorError, match="exists"):
        result.save("later.onnx")
    result.save("later.onnx", overwrite=True)


def test_a_plan_shows_itself_in_notebooks(data: dict[str, np.ndarray]) -> None:
    proto = networks.plain()
    proto.graph.node[0].name = "<b>first</b>"
    plan = sepfactor.compress(proto, data=data, max_error=0.5, **QUICK).plan
    shown = plan._repr_html_()
    assert "&lt;b&gt;first&lt;/b&gt;" in shown
    assert shown.count("<tr>") == 1 + len(plan.layers)
    assert all(layer.scheme in shown for layer in plan.layers if not layer.is_kept)


def test_a_rank_that_was_taken_up_to_a_block_is_told_of(root: Path) -> None:
    options: dict[str, Any] = {"scheme": "spatial-vertical", "rank": 3, "bench_seconds": 0, "tidy": False}
    options |= {"limit": 4, "input_shape": {"luma": (1, 1, 32, 32)}}
    report = sepfactor.compress(root / "models" / "upscale2x.onnx", **options).report
    widened = [layer for layer in report.layers if layer.replaced and layer.rank == (16,)]
    assert widened
    assert any(f"Rank 3 became 16 in {len(widened)} layer" in note for note in report.notes)


def test_the_public_names_are_there() -> None:
    for name in sepfactor.__all__:
        assert getattr(sepfactor, name) is not None
    assert set(sepfactor.__all__) <= set(dir(sepfactor))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = sepfactor.nonsense
