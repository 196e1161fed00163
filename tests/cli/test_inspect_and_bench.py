"""``sepfactor inspect`` and ``sepfactor bench``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import onnx
import pytest
from rich.cells import cell_len

from sepfactor.report.model import SCHEMA_VERSION
from tests import networks
from tests.cli.conftest import Run, listing
from tests.cli.test_compress import strict


class TestInspect:
    def test_a_row_for_every_convolution(self, root: Path, sepfactor: Run) -> None:
        model = root / "models" / "fixed_filters.onnx"
        run = sepfactor("inspect", model, "--limit", 1, "--json", "-")
        assert run.exit_code == 0
        assert run.stderr == ""
        found = strict(run.stdout)
        assert found["schema_version"] == SCHEMA_VERSION
        convs = [node for node in onnx.load(model).graph.node if node.op_type == "Conv"]
        assert len(found["layers"]) == len(convs)
        for layer in found["layers"]:
            assert layer["macs"] > 0
            assert 0 < layer["share"] < 1
            for scheme, ranks in layer["ranks"].items():
                assert len(ranks) == len(found["energy_shares"]) == 3
                assert sorted(ranks) == ranks
                assert all(
                    r <= f for rank in ranks for r, f in zip(rank, layer["full_ranks"][scheme], strict=True)
                )

    def test_ranks_of_a_separable_kernel(self, sepfactor: Run) -> None:
        run = sepfactor("inspect", "model.onnx", "--data", "data.npz", "--json", "-")
        layers = {layer["name"]: layer for layer in strict(run.stdout)["layers"]}
        assert layers["body.first"]["ranks"]["depthwise-pointwise"] == [[1], [1], [1]]
        assert layers["head.last"]["ranks"]["depthwise-pointwise"][2][0] > 1

    def test_one_scheme(self, sepfactor: Run) -> None:
        run = sepfactor("inspect", "model.onnx", "--scheme", "tucker2", "--json", "-")
        assert all(set(layer["ranks"]) == {"tucker2"} for layer in strict(run.stdout)["layers"])

    @pytest.mark.parametrize("width", [80, 160])
    def test_the_table_fits(self, width: int, sepfactor: Run) -> None:
        run = sepfactor("inspect", "model.onnx", env={"COLUMNS": str(width)})
        assert run.exit_code == 0
        assert all(cell_len(line) <= width for line in run.stdout.splitlines())
        for words in ("body.first", "spatial-horizontal", "of 16×8", "Time by operator|Time "):
            assert re.search(words, run.stdout), words

    def test_what_is_kept_has_its_reason(self, sepfactor: Run) -> None:
        onnx.save(networks.inseparable(), "model.onnx")
        assert "1×1" in sepfactor("inspect", "model.onnx").stdout

    def test_broken_weights_are_shown_not_refused(self, sepfactor: Run) -> None:
        onnx.save(networks.broken_weights(float("nan")), "model.onnx")
        run = sepfactor("inspect", "model.onnx")
        assert run.exit_code == 0
        assert "NaN" in run.stdout

    def test_no_convolution(self, sepfactor: Run) -> None:
        onnx.save(networks.without_conv(), "model.onnx")
        run = sepfactor("inspect", "model.onnx")
        assert (run.exit_code, run.stdout) == (4, "")
        assert run.stderr.startswith("Error: model.onnx has no Conv")

    def test_nothing_is_written(self, sepfactor: Run, folder: Path) -> None:
        before = listing(folder)
        assert sepfactor("inspect", "model.onnx", "-q").output == ""
        assert listing(folder) == before


class TestBench:
    @pytest.fixture
    def found(self, sepfactor: Run) -> Any:
        onnx.save(networks.plain(), "other.onnx")
        run = sepfactor(
            *("bench", "model.onnx", "other.onnx", "--data", "data.npz", "--bench-seconds", 0.02),
            *("--threads", 1, "--json", "-"),
        )
        assert run.exit_code == 0, run.output
        assert run.stderr == ""
        return strict(run.stdout)

    def test_the_first_is_the_baseline(self, found: Any) -> None:
        baseline, other = found["rows"]
        assert baseline["speedup"] is None
        assert (baseline["model"], other["model"]) == ("model.onnx", "other.onnx")
        assert other["speedup"]["low"] <= other["speedup"]["speedup"] <= other["speedup"]["high"]
        assert re.search("faster|slower|no measurable change", other["speedup"]["verdict"])

    def test_the_figures_are_in_order(self, found: Any) -> None:
        for row in found["rows"]:
            timing = row["timing"]
            assert 0 < timing["low_ms"] <= timing["median_ms"] <= timing["high_ms"]
            assert timing["rounds"] > 1
        assert found["environment"]["threads"] == 1

    def test_a_table(self, sepfactor: Run) -> None:
        run = sepfactor("bench", "model.onnx", "model.onnx", "--bench-seconds", 0.02, env={"COLUMNS": "80"})
        assert run.exit_code == 0
        assert "baseline" in run.stdout
        assert all(cell_len(line) <= 80 for line in run.stdout.splitlines())

    def test_one_model_alone(self, sepfactor: Run) -> None:
        assert sepfactor("bench", "model.onnx", "--bench-seconds", 0.01).exit_code == 0
