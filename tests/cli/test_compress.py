"""``sepfactor compress``: what it writes and what it says of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from rich.cells import cell_len

from sepfactor.results import SCHEMA_VERSION
from tests import networks
from tests.cli.conftest import Run, listing

QUICK = ("--bench-seconds", 0, "--seed", 0)


def strict(text: str) -> Any:
    """JSON without NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def outputs(model: Path, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def relative_errors(original: Path, result: Path, data: dict[str, np.ndarray]) -> list[float]:
    """``‖y − y'‖ / ‖y‖`` of each output over all samples."""
    before, after = (
        [
            outputs(model, {name: array[i : i + 1] for name, array in data.items()})
            for i in range(len(next(iter(data.values()))))
        ]
        for model in (original, result)
    )
    pairs = [
        (np.float64(np.stack(reference)), np.stack(candidate))
        for reference, candidate in zip(zip(*before, strict=True), zip(*after, strict=True), strict=True)
    ]
    return [float(np.linalg.norm(y - z) / np.linalg.norm(y)) for y, z in pairs]


def check_report(report: Any, model: Path) -> None:
    """A row for every Conv, and sums that add up."""
    assert report["schema_version"] == SCHEMA_VERSION
    layers, totals = report["layers"], report["totals"]
    convs = [node for node in onnx.load(model).graph.node if node.op_type == "Conv"]
    assert len(layers) == len(convs) == totals["convolutions"]
    assert totals["replaced"] == sum(layer["replaced"] for layer in layers)
    for field in ("macs_before", "macs_after", "parameters_before", "parameters_after"):
        assert totals[field] == sum(layer[field] for layer in layers if layer[field] is not None)
    for layer in layers:
        assert layer["replaced"] != bool(layer["reason"]), layer
        assert bool(layer["scheme"]) == layer["replaced"]
        assert layer["milliseconds_before"] > 0
        assert not layer["replaced"] or layer["macs_after"] < layer["macs_before"]


@pytest.mark.usefixtures("always_faster")
@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("fixed_filters", ()),
        ("upscale2x", ("--scheme", "spatial", "--rank", "32")),
        ("digits_resnet", ("--scheme", "spatial-vertical", "--rank", "16")),
    ],
)
def test_networks_that_ship(
    name: str, asked: tuple[str, ...], root: Path, sepfactor: Run, folder: Path
) -> None:
    models = root / "models"
    original, result = models / f"{name}.onnx", folder / "out.onnx"
    stem = name.removesuffix("_resnet")
    evaluation = models / f"{stem}_evaluation.npz"
    given = ("--data", models / f"{stem}_calibration.npz", "--eval-data", evaluation)
    before = listing(models)
    run = sepfactor(
        "compress", original, "-o", result, *given, *asked, *QUICK, "--limit", 4, "--json", "r.json"
    )
    assert run.exit_code == 0, run.output
    assert listing(models) == before

    report = strict(Path("r.json").read_text(encoding="utf-8"))
    check_report(report, original)
    assert report["totals"]["replaced"] > 0
    assert report["totals"]["bytes_after"] == result.stat().st_size
    assert report["output"] == str(result)
    assert not report["data"]["synthetic"]
    assert report["speed"] is None

    onnx.checker.check_model(str(result), full_check=True)
    assert _interface(original) == _interface(result)
    with np.load(evaluation) as arrays:
        chosen = np.sort(np.random.default_rng(0).choice(len(next(iter(arrays.values()))), 4, replace=False))
        data = {i.name: arrays[i.name][chosen] for i in onnx.load(original).graph.input}
        labels = arrays["labels"][chosen] if "labels" in arrays else None
    found = relative_errors(original, result, data)
    claimed = [output["relative_error"] for output in report["accuracy"]["outputs"]]
    np.testing.assert_allclose(found, claimed, rtol=0.02, atol=1e-7)
    if labels is not None:
        right = [int(outputs(result, {"image": data["image"][i : i + 1]})[0].argmax()) for i in range(4)]
        top1 = report["accuracy"]["outputs"][0]["top1"]
        assert top1["candidate"]["value"] == np.mean(np.array(right) == labels)


def _interface(model: Path) -> list[Any]:
    graph = onnx.load(model).graph
    constants = {value.name for value in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    return [(v.name, v.type.SerializeToString()) for v in (*inputs, *graph.output)]


@pytest.mark.usefixtures("always_faster")
def test_fixed_filters_are_rewritten_without_loss_and_without_data(
    root: Path, sepfactor: Run, folder: Path
) -> None:
    original = root / "models" / "fixed_filters.onnx"
    words = ("--max-error", 0, "--limit", 2, "--json", "-")
    run = sepfactor("compress", original, "-o", "out.onnx", *QUICK, *words)
    assert run.exit_code == 0
    report = strict(run.stdout)
    replaced = [layer for layer in report["layers"] if layer["replaced"]]
    assert len(replaced) >= 6
    assert all(layer["exact"] and layer["weight_error"] < 1e-6 for layer in replaced)
    assert report["data"]["synthetic"]
    assert any("SYNTHETIC" in note for note in report["notes"])
    for seed, shape in enumerate([(1, 3, 40, 64), (2, 3, 33, 33)]):
        image = np.random.default_rng(seed).random(shape, np.float32)
        for before, after in zip(
            outputs(original, {"image": image}), outputs(Path("out.onnx"), {"image": image}), strict=True
        ):
            np.testing.assert_allclose(after, before, rtol=0, atol=2e-5 * np.abs(before).max())


@pytest.mark.usefixtures("always_faster")
class TestWhereResultsGo:
    def test_the_default_name_stands_beside_the_model(self, sepfactor: Run, folder: Path) -> None:
        (folder / "deep").mkdir()
        onnx.save(networks.plain(), "deep/net.v2.onnx")
        assert sepfactor("compress", "deep/net.v2.onnx", *QUICK).exit_code == 0
        assert sorted(p.name for p in (folder / "deep").iterdir()) == ["net.v2.onnx", "net.v2.sep.onnx"]

    def test_json_on_stdout_is_nothing_but_json(self, sepfactor: Run) -> None:
        run = sepfactor("compress", "model.onnx", *QUICK, "--json", "-")
        assert run.exit_code == 0
        check_report(strict(run.stdout), Path("model.onnx"))
        assert run.stderr == ""

    def test_json_in_a_file_beside_the_table(self, sepfactor: Run, folder: Path) -> None:
        run = sepfactor("compress", "model.onnx", *QUICK, "--json", "report.json")
        check_report(strict(Path("report.json").read_text(encoding="utf-8")), Path("model.onnx"))
        assert "body.first" in run.stdout
        assert sorted(listing(folder)) == ["data.npz", "model.onnx", "model.sep.onnx", "report.json"]

    def test_quiet(self, sepfactor: Run) -> None:
        run = sepfactor("compress", "model.onnx", *QUICK, "-q")
        assert (run.exit_code, run.output) == (0, "")
        asked = sepfactor("compress", "model.onnx", *QUICK, "-q", "--markdown", "--overwrite")
        assert asked.stdout.startswith("**") and asked.stderr == ""

    def test_a_dry_run_reports_and_writes_nothing(self, sepfactor: Run, folder: Path) -> None:
        before = listing(folder)
        run = sepfactor("compress", "model.onnx", *QUICK, "--dry-run", "-o", "out.onnx")
        assert run.exit_code == 0
        assert "not written" in run.stdout
        assert listing(folder) == before

    def test_a_dry_run_does_not_mind_a_file_in_the_way(self, sepfactor: Run) -> None:
        Path("model.sep.onnx").write_text("mine")
        assert sepfactor("compress", "model.onnx", *QUICK, "--dry-run").exit_code == 0
        assert Path("model.sep.onnx").read_text() == "mine"

    def test_overwrite(self, sepfactor: Run, refused: Callable[..., str]) -> None:
        Path("model.sep.onnx").write_text("old")
        Path("report.json").write_text("old")
        assert "--overwrite" in refused(1, "compress", "model.onnx", *QUICK)
        assert "--overwrite" in refused(1, "compress", "model.onnx", "-o", "x.onnx", "--json", "report.json")
        run = sepfactor("compress", "model.onnx", *QUICK, "--overwrite", "--json", "report.json")
        assert run.exit_code == 0
        onnx.checker.check_model("model.sep.onnx", full_check=True)
        check_report(strict(Path("report.json").read_text(encoding="utf-8")), Path("model.onnx"))

    def test_overwrite_in_the_config_holds_for_all_files(self, sepfactor: Run) -> None:
        Path("c.toml").write_text("overwrite = true\nbench-seconds = 0")
        Path("model.sep.onnx").write_text("old")
        assert sepfactor("compress", "model.onnx", "--config", "c.toml").exit_code == 0
        onnx.checker.check_model("model.sep.onnx", full_check=True)

    @pytest.mark.parametrize("width", [80, 100, 160])
    def test_the_table_fits_and_breaks_no_word(self, width: int, sepfactor: Run) -> None:
        run = sepfactor("compress", "model.onnx", *QUICK, env={"COLUMNS": str(width)})
        assert all(cell_len(line) <= width for line in run.stdout.splitlines())
        for word in ("body.first", "head.last", "lossless", "separable", "SYNTHETIC IMAGES"):
            assert word in run.stdout or word == "separable", run.stdout
        assert "\x1b" not in run.output

    def test_colour_is_for_terminals_that_want_it(self, sepfactor: Run) -> None:
        wanted = sepfactor("compress", "model.onnx", *QUICK, "--dry-run", env={"FORCE_COLOR": "1"})
        unwanted = sepfactor(
            "compress", "model.onnx", *QUICK, "--dry-run", env={"FORCE_COLOR": "1", "NO_COLOR": "1"}
        )
        assert re.search(r"\x1b\[[0-9;]*3[0-9]m", wanted.stdout)
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", unwanted.stdout)


@pytest.mark.usefixtures("always_faster")
class TestWhatIsReplaced:
    """Options that say what becomes of which layer; ``body.first`` is separable, ``head.last`` is not."""

    @pytest.fixture
    def layers(self, sepfactor: Run) -> Callable[..., dict[str, Any]]:
        def run(*arguments: object, code: int = 0) -> dict[str, Any]:
            done = sepfactor(
                "compress", "model.onnx", "--data", "data.npz", "--dry-run", *QUICK, *arguments, "--json", "-"
            )
            assert done.exit_code == code, done.output
            report = strict(done.stdout)
            return {layer["name"]: layer for layer in report["layers"]} | {"report": report}

        return run

    def test_what_costs_nothing_comes_first_and_nothing_beyond_the_error(
        self, layers: Callable[..., Any]
    ) -> None:
        assert layers()["body.first"]["exact"]
        found = layers("--max-error", 0.001)
        assert found["body.first"]["exact"]
        assert not found["head.last"]["replaced"]
        assert found["head.last"]["reason"]["code"] == "too-far-off"

    def test_ignore(self, layers: Callable[..., Any]) -> None:
        found = layers("--ignore", "body.*", "--max-error", 0.9)
        assert found["body.first"]["reason"]["code"] == "ignored"
        assert found["head.last"]["replaced"]

    def test_a_pattern_that_fits_nothing_is_told(self, layers: Callable[..., Any]) -> None:
        assert any("'nowhere'" in note for note in layers("--ignore", "nowhere")["report"]["notes"])

    def test_scheme_and_rank(self, layers: Callable[..., Any]) -> None:
        found = layers("--scheme", "channel-out", "--rank", 2)
        assert found["head.last"]["scheme"] == "channel-out"
        assert found["head.last"]["rank"] == [2]
        assert found["report"]["options"]["scheme"] == ["channel-out"]

    def test_several_schemes(self, layers: Callable[..., Any]) -> None:
        found = layers("--scheme", "channel", "--scheme", "tucker2", "--rank", 2)
        assert found["head.last"]["scheme"] in ("channel-out", "channel-in", "tucker2")

    @pytest.mark.parametrize("allowed", [0.9, 0.5, 0.2])
    def test_max_error_is_kept(self, allowed: float, layers: Callable[..., Any]) -> None:
        found = layers("--max-error", allowed)
        for layer in found["report"]["layers"]:
            assert not layer["replaced"] or layer["exact"] or layer["output_error"] <= allowed

    def test_a_max_error_of_zero_leaves_what_is_lossless(self, layers: Callable[..., Any]) -> None:
        found = layers("--max-error", 0)
        assert found["report"]["options"]["max-error"] == 0
        assert found["body.first"]["exact"]
        assert not found["head.last"]["replaced"]

    def test_config_with_tables_for_layers(self, layers: Callable[..., Any]) -> None:
        Path("c.toml").write_text(
            """
            max-error = 0.9
            [layers."head.*"]
            scheme = ["spatial-vertical"]
            rank = 5
            [layers."body.*"]
            keep = true
            """
        )
        found = layers("--config", "c.toml")
        assert (found["head.last"]["scheme"], found["head.last"]["rank"]) == ("spatial-vertical", [5])
        assert found["body.first"]["reason"]["code"] == "ignored"

    def test_the_command_line_has_the_last_word_over_the_config(self, layers: Callable[..., Any]) -> None:
        Path("c.toml").write_text("max_error = 0.01\nscheme = 'spatial'\nseed = 7")
        found = layers("--config", "c.toml", "--rank", 3, "--scheme", "channel-in")
        assert found["head.last"]["scheme"] == "channel-in"
        assert found["report"]["options"]["seed"] == 0  # of QUICK: zero is something said, too

    def test_zero_is_something_said(self, sepfactor: Run) -> None:
        run = sepfactor("compress", "model.onnx", *QUICK, "--threads", 0, "--dry-run", "--json", "-")
        report = strict(run.stdout)
        assert report["options"]["threads"] == report["environment"]["threads"] == 0

    @pytest.mark.parametrize("threads", [1, 2])
    def test_threads(self, threads: int, layers: Callable[..., Any]) -> None:
        assert layers("--threads", threads)["report"]["environment"]["threads"] == threads

    def test_limit_and_evaluation_data(self, layers: Callable[..., Any]) -> None:
        np.savez("other.npz", image=networks.images(7, seed=5))
        data = layers("--eval-data", "other.npz", "--limit", 3)["report"]["data"]
        assert data["samples"] == 3
        assert "other.npz" in data["judged_on"]
        assert "data.npz" in data["description"]


@pytest.mark.usefixtures("always_faster")
class TestLabels:
    @pytest.mark.parametrize("suffix", ["npy", "npz", "csv"])
    def test_accuracy_of_both_networks(self, suffix: str, sepfactor: Run) -> None:
        onnx.save(networks.classifier(), "model.onnx")
        images = networks.images(6)
        best = outputs(Path("model.onnx"), {"image": images})[0].argmax(1)
        labels = np.where(np.arange(6) < 2, (best + 1) % 6, best)  # two of six are wrong
        match suffix:
            case "npy":
                np.save("labels.npy", labels)
            case "npz":
                np.savez("labels.npz", labels=labels)
            case "csv":
                Path("labels.csv").write_text("\n".join(map(str, labels)) + "\n")
        np.savez("eval.npz", image=images)
        np.savez("data.npz", image=networks.images(6, seed=1))
        run = sepfactor(
            *("compress", "model.onnx", "--data", "data.npz", "--eval-data", "eval.npz"),
            *("--labels", f"labels.{suffix}", *QUICK, "--json", "-"),
        )
        assert run.exit_code == 0, run.output
        (scores,) = strict(run.stdout)["accuracy"]["outputs"]
        assert scores["top1"]["reference"]["value"] == pytest.approx(4 / 6)
        assert scores["top1"]["candidate"]["value"] == pytest.approx(4 / 6)  # its one layer is separable
        assert scores["agreement"] == 1

    def test_labels_of_other_data_have_the_last_word_but_choose_nothing_and_it_says_so(
        self, sepfactor: Run
    ) -> None:
        onnx.save(networks.classifier(), "model.onnx")
        np.save("labels.npy", np.zeros(4, np.int64))
        np.savez("eval.npz", image=networks.images(seed=1))
        labels = ("--eval-data", "eval.npz", "--labels", "labels.npy", "--max-drop", "50%")
        run = sepfactor("compress", "model.onnx", "--data", "data.npz", *labels, *QUICK, "--json", "-")
        report = strict(run.stdout)
        assert "of top-1" in report["budget"]["verdict"]["text"]  # by which it was not chosen
        assert report["budget"]["quality"]["judged_on"] == "eval-data"
        assert any("labels are of --eval-data" in note for note in report["notes"])
        np.savez("own.npz", image=networks.images(), labels=np.zeros(4, np.int64))
        run = sepfactor(
            *("compress", "model.onnx", "--data", "own.npz", *labels, *QUICK, "--json", "-", "--overwrite")
        )
        report = strict(run.stdout)
        assert "of top-1" in report["budget"]["verdict"]["text"]
        assert not any("labels are of --eval-data" in note for note in report["notes"])

    def test_a_table_with_accuracy(self, sepfactor: Run) -> None:
        onnx.save(networks.classifier(), "model.onnx")
        np.save("labels.npy", np.zeros(4, np.int64))
        run = sepfactor("compress", "model.onnx", "--data", "data.npz", "--labels", "labels.npy", *QUICK)
        assert "top-1" in run.stdout
        assert "same answer on 100 %" in run.stdout


@pytest.mark.usefixtures("always_faster")
class TestInputs:
    def test_several(self, sepfactor: Run) -> None:
        onnx.save(networks.two_inputs(), "model.onnx")
        np.savez("data.npz", image=networks.images(), gain=np.ones((4, 1, 1, 1), np.float32))
        run = sepfactor("compress", "model.onnx", "--data", "data.npz", *QUICK)
        assert run.exit_code == 0, run.output
        assert sepfactor("compress", "model.onnx", *QUICK, "-o", "synthetic.onnx").exit_code == 0

    def test_of_whole_numbers(self, sepfactor: Run) -> None:
        onnx.save(networks.of_whole_numbers(), "model.onnx")
        np.savez("data.npz", image=(255 * networks.images(20)).astype(np.uint8))
        assert sepfactor("compress", "model.onnx", "--data", "data.npz", *QUICK).exit_code == 0
        assert sepfactor("compress", "model.onnx", *QUICK, "-o", "synthetic.onnx").exit_code == 0

    def test_input_shape(self, sepfactor: Run) -> None:
        onnx.save(networks.vanishing_map(), "model.onnx")
        shape = ("--input-shape", "image:1,3,30,20")
        run = sepfactor("compress", "model.onnx", *shape, *QUICK, "--json", "-")
        assert run.exit_code == 0, run.output
        assert strict(run.stdout)["layers"][0]["map_size"] == [30, 20]

    def test_an_input_name_with_a_colon(self, sepfactor: Run) -> None:
        model = networks.vanishing_map()
        model.graph.input[0].name = model.graph.node[0].input[0] = "serving:0"
        onnx.save(model, "model.onnx")
        run = sepfactor("compress", "model.onnx", "--input-shape", "serving:0:1,3,24,24", *QUICK)
        assert run.exit_code == 0, run.output

    def test_a_kernel_larger_than_its_map(self, sepfactor: Run) -> None:
        onnx.save(networks.small_map(), "model.onnx")
        run = sepfactor("compress", "model.onnx", *QUICK)
        assert run.exit_code in (0, 4), run.output
        if run.exit_code == 0:
            image = networks.images(2, 4)
            before, after = (outputs(Path(p), {"image": image})[0] for p in ("model.onnx", "model.sep.onnx"))
            np.testing.assert_allclose(after, before, atol=1e-4)

    def test_layers_with_broken_weights_may_be_left_out(self, sepfactor: Run) -> None:
        onnx.save(networks.broken_weights(np.inf), "model.onnx")
        run = sepfactor("compress", "model.onnx", "--ignore", "head.last", *QUICK, "--json", "-")
        assert run.exit_code == 0, run.output
        rows = {layer["name"]: layer for layer in strict(run.stdout)["layers"]}
        assert rows["body.first"]["replaced"]
        assert rows["head.last"]["reason"]["code"] == "ignored"

    def test_names_that_look_like_markup(self, sepfactor: Run) -> None:
        model = networks.plain()
        for node, name in zip(model.graph.node, ("[/red]a[b]", "", "[bold]"), strict=True):
            node.name = name
        onnx.save(model, "[m].onnx")
        run = sepfactor("compress", "[m].onnx", *QUICK)
        assert run.exit_code == 0, run.output
        assert "[bold]" in sepfactor("compress", "[m].onnx", *QUICK, "--dry-run", "--all").stdout
        for name in ("[/red]a[b]", "[m].onnx → [m].sep.onnx"):
            assert name in run.stdout


class TestNothingToDo:
    def test_nothing_worth_replacing(self, sepfactor: Run, folder: Path) -> None:
        onnx.save(networks.inseparable(), "model.onnx")
        before = listing(folder)
        run = sepfactor("compress", "model.onnx", "--data", "data.npz", *QUICK)
        assert run.exit_code == 4
        assert listing(folder) == before
        assert "conv_map" in run.stdout
        assert run.stderr.startswith("Nothing was worth replacing, so no model was written: ")
        assert "Next: " in run.stderr

    def test_its_report_is_still_json(self, sepfactor: Run) -> None:
        onnx.save(networks.inseparable(), "model.onnx")
        run = sepfactor("compress", "model.onnx", "--data", "data.npz", *QUICK, "--json", "-")
        assert run.exit_code == 4
        report = strict(run.stdout)
        assert report["output"] is report["accuracy"] is None
        assert report["layers"][0]["reason"]

    def test_a_candidate_that_measures_slower_is_put_back(
        self, sepfactor: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from tests.timing import decide_times

        decide_times(monkeypatch, 0.91)
        run = sepfactor("compress", "model.onnx", "--data", "data.npz", *QUICK, "--json", "-")
        assert run.exit_code == 4
        rows = {layer["name"]: layer for layer in strict(run.stdout)["layers"]}
        assert rows["body.first"]["reason"]["code"] == "no-faster"
        assert "0.91×" in rows["body.first"]["reason"]["detail"]
        assert rows["body.first"]["trial_interval"] == pytest.approx([0.99 * 0.91, 1.01 * 0.91])

    def test_no_convolution(self, refused: Callable[..., str]) -> None:
        onnx.save(networks.without_conv(), "model.onnx")
        assert "no Conv" in refused(4, "compress", "model.onnx", "--data", "data.npz", *QUICK)
