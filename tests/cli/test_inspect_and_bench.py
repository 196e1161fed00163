"""``sepfactor inspect`` and ``sepfactor bench``."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.shape_inference
import pytest
from rich.cells import cell_len

from sepfactor.results import SCHEMA_VERSION
from tests import networks
from tests.cli.conftest import Run, listing
from tests.cli.test_compress import strict
from tests.test_tidying import network as rewritable


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

    def test_the_least_that_keeps_what_a_layer_answers(self, sepfactor: Run) -> None:
        run = sepfactor("inspect", "model.onnx", "--data", "data.npz", "--json", "-")
        layers = {layer["name"]: layer for layer in strict(run.stdout)["layers"]}
        first, last = layers["body.first"], layers["head.last"]
        assert first["least_macs"] <= 16 * 16 * (3 * 5 * 5 + 3 * 16)  # depthwise, and the channels
        for layer in (first, last):
            if layer["least_scheme"]:
                assert layer["least_macs"] < layer["macs"]
                rank = layer["seen_ranks"][layer["least_scheme"]][1]  # with the other ranks full
                assert all(n >= r for n, r in zip(layer["least_rank"], rank, strict=True))
            else:
                assert layer["least_macs"] is None

    def test_weights_listed_as_inputs_are_told_of(self, sepfactor: Run) -> None:
        note = "lists its weights as inputs"
        assert note not in sepfactor("inspect", "model.onnx", env={"COLUMNS": "300"}).stdout
        model = networks.plain()
        for weight in model.graph.initializer:
            model.graph.input.append(onnx.helper.make_tensor_value_info(weight.name, 1, weight.dims))
        onnx.save(model, "listed.onnx")
        assert note in sepfactor("inspect", "listed.onnx", env={"COLUMNS": "300"}).stdout

    def test_what_can_be_had_for_nothing(self, sepfactor: Run) -> None:
        onnx.save(rewritable(), "net.onnx")
        found = strict(sepfactor("inspect", "net.onnx", "--json", "-").stdout)
        times = {row["rule"]: row["times"] for row in found["rewrites"]}
        assert times == {"hard-swish": 1, "fold-backward": 1, "prelu": 1}
        assert len(found["layers"]) == 2  # of the network as it is
        said = sepfactor("inspect", "net.onnx", env={"COLUMNS": "300"}).stdout
        assert "prelu (1)" in said
        assert "`sepfactor tidy` measures" in said
        plain = sepfactor("inspect", "model.onnx", env={"COLUMNS": "300"}).stdout
        assert "nothing that can be rewritten" in plain

    def test_time_by_layout(self, sepfactor: Run) -> None:
        onnx.save(rewritable(), "net.onnx")
        found = strict(sepfactor("inspect", "net.onnx", "--json", "-").stdout)
        layouts, operators = found["layouts"], found["operators"]
        assert layouts.keys() == {"blocked", "reorders", "plain"}
        assert sum(layouts.values()) == pytest.approx(sum(operators.values()))
        assert layouts["reorders"] == pytest.approx(
            sum(ms for name, ms in operators.items() if name.startswith("Reorder"))
        )
        assert layouts["blocked"] >= operators["Conv"]
        assert layouts["plain"] >= operators["PRelu"]
        assert "Layout" in sepfactor("inspect", "net.onnx").stdout

    def test_matrices_that_were_not_looked_at_are_named_with_their_flag(self, sepfactor: Run) -> None:
        rng = np.random.default_rng(0)
        model = networks.plain()
        (before,) = (value.name for value in model.graph.output)
        nodes = [
            onnx.helper.make_node("GlobalAveragePool", [before], ["means"]),
            onnx.helper.make_node("Flatten", ["means"], ["flat"]),
            onnx.helper.make_node("Gemm", ["flat", "wide"], ["hidden"]),
            onnx.helper.make_node("Gemm", ["hidden", "square"], ["y"]),
        ]
        model.graph.node.extend(nodes)
        channels = (
            onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape.dim[1].dim_value
        )
        for name, shape in (("wide", (channels, 2048)), ("square", (2048, 2048))):
            weight = rng.normal(0, 0.02, shape).astype(np.float32)
            model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
        del model.graph.output[:]
        model.graph.output.append(onnx.helper.make_tensor_value_info("y", 1, None))
        onnx.save(model, "net.onnx")
        said = sepfactor("inspect", "net.onnx", "--limit", 2, env={"COLUMNS": "300"}).stdout
        assert re.search(r"Gemm and MatMul take \d+ % of the time and were not looked at", said)
        assert "--data FOLDER_OR_NPZ --linear-layers" in said
        said = sepfactor(
            "inspect", "net.onnx", "--limit", 2, "--linear-layers", env={"COLUMNS": "300"}
        ).stdout
        assert "were not looked at" not in said

    def test_shapes_that_were_fed_are_told(self, sepfactor: Run) -> None:
        found = strict(sepfactor("inspect", "model.onnx", "--limit", 2, "--json", "-").stdout)
        shape = found["data"]["shapes"]["image"]
        assert len(shape) == 4
        said = sepfactor("inspect", "model.onnx", "--limit", 2, env={"COLUMNS": "300"}).stdout
        assert f"image {'×'.join(map(str, shape))}" in said

    def test_one_scheme(self, sepfactor: Run) -> None:
        run = sepfactor("inspect", "model.onnx", "--scheme", "tucker2", "--json", "-")
        assert all(set(layer["ranks"]) == {"tucker2"} for layer in strict(run.stdout)["layers"])

    @pytest.mark.parametrize("width", [80, 160])
    def test_the_table_fits(self, width: int, sepfactor: Run) -> None:
        run = sepfactor("inspect", "model.onnx", env={"COLUMNS": str(width)})
        assert run.exit_code == 0
        assert all(cell_len(line) <= width for line in run.stdout.splitlines())
        for words in ("body.first", "separable|pointwise", "Verdict", "Next"):
            assert re.search(words, run.stdout), words

    @pytest.mark.parametrize("width", [80, 120, 160])
    def test_every_scheme_where_all_is_asked_for(self, width: int, sepfactor: Run) -> None:
        run = sepfactor("inspect", "model.onnx", "--all", env={"COLUMNS": str(width)})
        assert all(cell_len(line) <= width for line in run.stdout.splitlines())
        for words in ("spatial-horizontal", "depthwise-pointwise", "16×8", "90 / 99 / 99.9 %"):
            assert words in run.stdout, words

    def test_it_says_what_to_type_next(self, sepfactor: Run) -> None:
        said = ("--data", "data.npz", "--input-shape", "image:1,3,16,16", "--scheme", "spatial")
        run = sepfactor("inspect", "model.onnx", *said, "--limit", 2, env={"COLUMNS": "400"})
        (line,) = (line for line in run.stdout.splitlines() if line.startswith("Next"))
        _, program, command, *words = shlex.split(line)
        assert (program, command) == ("sepfactor", "compress")
        assert "--limit" not in words
        again = sepfactor(command, *words, "--dry-run", "--rank", 1, "--bench-seconds", 0)
        assert again.exit_code in (0, 4), again.output

    def test_without_data_it_asks_for_some(self, sepfactor: Run) -> None:
        assert "--data FOLDER_OR_NPZ" in sepfactor("inspect", "model.onnx", env={"COLUMNS": "400"}).stdout

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
        assert sepfactor("inspect", "model.onnx", "-q").exit_code == 0
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
        assert other["speedup"]["low"] <= other["speedup"]["ratio"] <= other["speedup"]["high"]
        assert other["speedup"]["verdict"]["code"] in ("faster", "slower", "unchanged")

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


@pytest.mark.parametrize("command", ["inspect", "bench", "compare"])
def test_quiet_leaves_the_result(command: str, sepfactor: Run) -> None:
    given = {"inspect": (), "bench": ("model.onnx", "--bench-seconds", 0.01), "compare": ("model.onnx",)}
    words = (command, "model.onnx", *given[command], "--data", "data.npz", "-q")
    run = sepfactor(*words)
    assert (run.exit_code, run.stderr) == (0, "")
    assert "model.onnx" in run.stdout or "head.last" in run.stdout or "body" in run.stdout
    assert sepfactor(*words, "--json", "in-a-file.json").output == ""
