"""The oracle for kinds of layers: every scheme at full rank, written into the network, answers as it did."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from sepfactor.factor import SCHEMES, Chain, Factorization
from sepfactor.graph.prepare import prepare
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.graph.survey import Site, survey
from tests.graph.build import assert_same, check, run


def opened(proto: onnx.ModelProto) -> tuple[ir.Model, Site]:
    """A network of one site, prepared, and that site."""
    prepared = prepare(ir.from_proto(proto))
    (site,) = survey(prepared)
    return prepared, site


def assert_same_at_full_rank(proto: onnx.ModelProto, x: np.ndarray, expected: np.ndarray) -> None:
    """Of a network of one site; the layer written anew as it is, too."""
    prepared, site = opened(proto)
    assert site.stage is not None, site.skipped
    taken = [scheme for scheme in SCHEMES if scheme.refuses(site.stage) is None]
    parts = [scheme.decompose(site.stage) for scheme in taken]
    for chains in [part.build(part.full_rank) for part in parts] + [(Chain((site.stage,)),)]:
        rebuilt = rebuild(prepared, [Replacement(site, Factorization(chains, site.bias), {})])
        check(rebuilt.model)
        assert_same(run(rebuilt.model, {"x": x}), [expected])
