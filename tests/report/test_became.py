"""The drawing of what became of which layer."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest

import sepfactor
from sepfactor.report.became import OPEN_TO, Became, drawing
from sepfactor.report.html import report_html
from sepfactor.results import Layer, StageRow
from tests import networks
from tests.report.samples import KEPT, layer, rich_report

pytest.importorskip("jinja2")
pytest.importorskip("vl_convert")

HOSTILE = "<img src=x onerror=alert(1)>"


def stage(*shape: int, macs: int | None = 100, **fields: Any) -> StageRow:
    return StageRow(weight_shape=shape, macs=macs, **fields)


def chained(**fields: Any) -> Layer:
    common: dict[str, Any] = {
        "name": "body",
        "replaced": True,
        "scheme": "spatial-vertical",
        "rank": (20,),
        "weight_shape": (64, 64, 3, 3),
        "milliseconds_before": 2.0,
        "milliseconds_after": 0.5,
        "macs_before": 1000,
        "macs_after": 400,
        "chains": ((stage(20, 64, 3, 1, macs=300), stage(64, 20, 1, 3)),),
    }
    return layer(**common | fields)


def rows(*layers: Layer) -> list[Became]:
    found = drawing(layers)
    assert found is not None
    return [row for row in found.rows if isinstance(row, Became)]


def test_kernels_of_a_chain() -> None:
    (row,) = rows(chained())
    assert (row.number, row.name, row.kernel) == (1, "body", "64→64 3×3")
    assert row.chains == ((1, ("64→20 3×1", "20→64 1×3")),)
    assert row.parts == (0.75, 0.25)
    assert row.cost == "2 → 0.5 ms"


def test_equal_chains_are_drawn_once() -> None:
    one = (stage(64, 1, 3, 3, group=64), stage(64, 64, 1, 1))
    other = (stage(8, 64, 3, 1), stage(64, 8, 1, 3))
    (row,) = rows(chained(chains=(one, one, one, other)))
    assert [chain.times for chain in row.chains] == [3, 1]
    assert row.chains[0].stages == ("64→64 3×3 depthwise", "64→64 1×1")
    assert sum(row.parts) == pytest.approx(1)
    assert len(row.parts) == 8


def test_lengths_are_of_one_scale() -> None:
    small = chained(milliseconds_before=0.5, milliseconds_after=0.25)
    lengths = [(row.before, row.after) for row in rows(chained(), small)]
    assert lengths == [(100, 25), (25, 12.5)]
    slower = chained(milliseconds_after=4.0)
    assert [(row.before, row.after) for row in rows(slower)] == [(50, 100)]


def test_without_times_lengths_are_multiplications() -> None:
    """Of all layers, so that no bar stands beside one of another unit."""
    found = drawing([chained(), chained(milliseconds_after=None, macs_before=500)])
    assert found is not None
    assert found.unit == "multiply-accumulates"
    assert [(row.before, row.after) for row in found.rows if isinstance(row, Became)] == [(100, 40), (50, 40)]
    bare = drawing([chained(milliseconds_after=None, macs_before=None, macs_after=None)])
    assert bare is not None  # nothing is known, and nothing fails


def test_layers_that_stay_are_counted_where_they_are() -> None:
    found = drawing([KEPT, chained(), KEPT, KEPT, chained()])
    assert found is not None
    assert [row if isinstance(row, str) else row.number for row in found.rows] == [
        "1 convolution stays",
        2,
        "2 convolutions stay",
        5,
    ]
    assert drawing([KEPT]) is None


def test_a_layer_without_stages_says_its_form() -> None:
    (row,) = rows(chained(chains=(), scheme="average-first", rank=(), form="average first"))
    assert row.form == "average-first: average first"
    page = report_html(rich_report(layers=(chained(chains=(), form="average first"),)))
    assert '<b class="after">spatial-vertical 20: average first</b>' in page


@pytest.mark.parametrize("count", [5, 100])
def test_the_page_has_a_row_for_each(count: int) -> None:
    layers = [chained(name=f"{HOSTILE} {number}") for number in range(count)]
    page = report_html(rich_report(layers=tuple(layers)))
    (part,) = re.findall(r'<section class="card" id="became">.*?</section>', page, re.DOTALL)
    assert part.count("<li>") == count
    assert HOSTILE not in part
    assert part.count("64→20 3×1") == count
    assert ("<details open>" in part) == (count <= OPEN_TO)
    assert len(part) < 900 * count + 1000
    assert 'id="became"' not in report_html(rich_report(layers=(KEPT,)))


def test_stages_are_those_of_the_file(tmp_path: Any) -> None:
    """Every weight of the written network is in the report, and the multiplications add up."""
    node = networks.conv("image", "w", "map", pads=[1] * 4, strides=[2, 2])
    shapes = {"image": ("batch", 32, 16, 16)}, {"map": ("batch", 32, 8, 8)}
    model = networks.network([node], {"w": networks.kernel(32, 32)}, *shapes)
    data = {"image": np.random.default_rng(0).standard_normal((8, 32, 16, 16), np.float32)}
    options: Any = {"scheme": "spatial", "rank": 4, "refit": False, "bench_seconds": 0, "tidy": False}
    result = sepfactor.compress(model, tmp_path / "a.onnx", data=data, **options)
    replaced = [one for one in result.report.layers if one.replaced]
    assert replaced
    written = onnx.load(tmp_path / "a.onnx").graph
    kernels = [tuple(weight.dims) for weight in written.initializer if len(weight.dims) == 4]
    for one in replaced:
        stages = [stage for chain in one.chains for stage in chain]
        assert sum(stage.macs or 0 for stage in stages) == one.macs_after
        assert {stage.weight_shape for stage in stages} <= {*kernels}
        assert stages[0].weight_shape[1] * stages[0].group == one.weight_shape[1] * one.group
        assert stages[-1].weight_shape[0] == one.weight_shape[0]
