"""Random networks, parts of which are put into functions, branches and loops, come out as they went in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from sepfactor.graph.load import load
from sepfactor.graph.prepare import prepare
from sepfactor.graph.survey import Site, survey
from tests.graph.build import interface, run
from tests.robustness.graphs import Drawn, networks
from tests.robustness.way import assert_near, attempt
from tests.robustness.wrap import CLOSED, OPEN, Step, steps, wrapped

TOLERANCE = {"float32": 1e-4, "float16": 2e-2}
relaxed = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def seen(sites: Sequence[Site]) -> set[tuple[object, ...]]:
    """Without pads: a Pad stays where its constant is not in the body with it."""
    return {(site.weight_shape, site.skipped or "", str(site.stage and site.stage.strides)) for site in sites}


def fed(drawn: Drawn) -> dict[str, np.ndarray]:
    """All samples at once, or the first where the batch is fixed."""
    fixed = drawn.model.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")
    return {name: array[: 1 if fixed else 3] for name, array in drawn.feed.items()}


@relaxed
@given(networks(), steps(CLOSED), steps(OPEN))
def test_convolutions_are_found_wherever_they_are(
    drawn: Drawn, closed: list[Step], opened: list[Step]
) -> None:
    proto = wrapped(wrapped(drawn.model, closed), opened)
    onnx.checker.check_model(proto)
    prepared = prepare(load(proto).model)
    sites, plain = survey(prepared), survey(prepare(load(drawn.model).model))
    if not any("computed by" in str(site.skipped) for site in sites):
        out_of_reach = {site.skipped for site in sites if "of a Scan" in str(site.skipped)}
        if not out_of_reach:
            assert seen(sites) == seen(plain)
        assert len(sites) >= len(plain)
    found = ir.to_proto(prepared)
    onnx.checker.check_model(found, full_check=True)
    assert interface(found) == interface(drawn.model)
    names = [site.output for site in sites]
    assert len(set(names)) == len(names)
    for one, other in zip(run(found, fed(drawn)), run(drawn.model, fed(drawn)), strict=True):
        assert_near(one, other, TOLERANCE)


OPTIONS = (
    {"max_error": 0.0},
    {"rank": 1},
    {"rank": 8},
    {"max_error": 0.5, "refit": False},
    {"min_snr": 20.0},
    {"max_macs": "60%", "force": True},
    {"rank": 2, "linear_layers": True, "dequantize": True},
)


@relaxed
@given(networks(), steps((*OPEN, *CLOSED), least=1), st.sampled_from(OPTIONS), st.booleans())
def test_the_whole_way(drawn: Drawn, how: list[Step], options: dict[str, Any], with_data: bool) -> None:
    proto = wrapped(drawn.model, how)
    onnx.checker.check_model(proto, full_check=True)
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out.onnx"
        result = attempt(proto, out, data=drawn.feed if with_data else None, limit=3, **options)
        if isinstance(result, str):
            assert not any("Conv" in node.op_type for node in drawn.model.graph.node), result
            return
        layers = result.report.layers
        assert all(layer.replaced or layer.reason for layer in layers)
        nested = [layer for layer in layers if "/" in layer.output]
        event(f"replaced in bodies {min(sum(layer.replaced for layer in nested), 3)}")
        if not out.exists():
            return
        onnx.checker.check_model(out, full_check=True)
        found = onnx.load(out)
    assert interface(found) == interface(proto)
    rounds = any(node.op_type == "QuantizeLinear" for node in drawn.model.graph.node)
    for one, other in zip(run(found, fed(drawn)), run(proto, fed(drawn)), strict=True):
        if options.get("max_error") == 0.0 and not rounds:
            assert_near(one, other, TOLERANCE)
        else:
            assert one.shape == other.shape
            assert np.isfinite(one).all()
