"""What is fitted, on what, and how hard: by the data there are."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import sepfactor
from sepfactor.errors import OptionError
from sepfactor.factor import select_schemes
from sepfactor.factor.moment_sums import MomentSums
from sepfactor.fit import sequential as engine
from sepfactor.fit import settings as method
from sepfactor.fit.propagation import Propagation
from sepfactor.fit.settings import FitMethod, FitSettings, fit_method
from sepfactor.graph.load import load
from sepfactor.graph.survey import survey
from sepfactor.options import Options
from sepfactor.progress import silent
from sepfactor.study.study import _is_map, open_study
from tests import networks
from tests.fit.small import opened, residual_network, smooth
from tests.timing import decide_times

PLAN: dict[str, Any] = {"scheme": "spatial-vertical", "rank": 4, "bench_seconds": 0}
DATA = {"x": smooth(12)}


@pytest.fixture(autouse=True)
def _always_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    decide_times(monkeypatch, 2.0)


def method_of(model: onnx.ModelProto, **options: Any) -> FitMethod:
    return fit_method(open_study(load(model), Options(**options), silent))


class TestMethod:
    def test_real_data_are_fitted_to_in_sequence(self) -> None:
        found = method_of(networks.plain(), data={"image": networks.images()})
        assert found.full == FitSettings()
        assert found.full.sequential
        assert found.full.correct_kept
        assert found.full.residual
        assert found.ridge is not None
        assert found.ridge < 0.01

    def test_synthetic_ones_layer_by_layer_and_held_back(self) -> None:
        found = method_of(networks.classifier())
        assert found.full is not None
        assert not (found.full.sequential or found.full.residual or found.full.correct_kept)
        assert found.full.ridges == (found.ridge,)
        assert found.ridge is not None
        assert found.ridge >= 0.1

    def test_but_in_sequence_where_images_come_out(self) -> None:
        assert method_of(networks.plain()).full == FitSettings()

    @pytest.mark.parametrize(
        ("shape", "is_map"),
        [
            (["N", 4, "H", "W"], True),
            ([1, 4, 16, 24], True),
            ([1, 1, "D", "H", "W"], True),
            (["N", 2, 8, 8, 8], True),
            (["N", 2, 3, 4, 5, 6], True),
            (["N", 10], False),
            (["N", 10, 50], False),
            (["N", 10, 1, 1], False),
            (["N", 10, 1, 24], False),
            (["N", 10, 1, 1, 1], False),
            (["N", 10, 8, 8, 1], False),
            (None, False),
        ],
    )
    def test_what_an_image_is(self, shape: list[int | str] | None, is_map: bool) -> None:
        value = ir.val("y", shape=None if shape is None else ir.Shape(shape))
        assert _is_map(value) is is_map

    @pytest.mark.parametrize("data", [None, {"image": networks.images()}])
    def test_without_refit_nothing_is(self, data: Any) -> None:
        assert method_of(networks.plain(), refit=False, data=data) == FitMethod(None, None, None)


def kernels(model: Any) -> dict[str, np.ndarray]:
    return {
        name: value.const_value.numpy()
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }


def test_without_refit_the_factors_are_those_of_the_bare_weights() -> None:
    result = sepfactor.compress(residual_network(), data=DATA, refit=False, **PLAN)
    found = kernels(result.model)
    (scheme,) = select_schemes([PLAN["scheme"]])
    assert result.report.totals.replaced == 4
    for site, row in zip(survey(opened(residual_network())), result.report.layers, strict=True):
        assert site.stage is not None
        (chain,) = scheme.decompose(site.stage).build(row.rank)
        own = [value for name, value in found.items() if name.startswith(f"{row.name}/sep")]
        for part, value in zip(chain.stages, (v for v in own if v.ndim == 4), strict=True):
            np.testing.assert_array_equal(value, part.weight.astype(np.float32))
        np.testing.assert_array_equal(next(v for v in own if v.ndim == 1), site.bias)
        assert row.fitted_error is None
    assert result.report.data.fitted_on == 0


def test_with_it_the_network_is_nearer_to_what_it_was() -> None:
    fitted, bare = (
        sepfactor.compress(residual_network(), data=DATA, refit=refit, **PLAN).report
        for refit in (True, False)
    )
    assert fitted.accuracy is not None
    assert bare.accuracy is not None
    errors = [r.accuracy.outputs[0].relative_error for r in (fitted, bare)]
    assert errors[0] < 0.5 * errors[1]
    for row in fitted.layers:
        assert row.fitted_error < row.unfitted_error


@pytest.mark.parametrize("pattern", ["a", "y", "*"])
def test_layers_to_keep_are_kept_byte_for_byte(pattern: str) -> None:
    model = residual_network()
    for node in model.graph.node:
        node.name = f"n_{node.output[0]}"
    for asked in ({"ignore": [pattern]}, {"layers": {pattern: {"keep": True}}}):
        result = sepfactor.compress(model, data=DATA, **PLAN, **asked)
        before, after = kernels(opened(model)), kernels(result.model)
        for site in survey(opened(model)):
            number = "abcy".index(site.output) + 1
            kept = pattern in ("*", site.output)
            assert (f"w{number}" in after) is kept
            if kept:
                for name in (f"w{number}", f"b{number}"):
                    assert after[name].tobytes() == before[name].tobytes()
        for row in result.report.layers:
            if pattern in ("*", row.output):
                assert not (row.replaced or row.corrected)
                assert str(row.reason) == "left alone as asked"


class TestMemory:
    def report(self, **options: Any) -> Any:
        return sepfactor.compress(residual_network(), data=DATA, **PLAN, **options).report

    def test_all_there_are_where_it_suffices(self) -> None:
        assert self.report().data.fitted_on == 6
        assert self.report(held_out=0.25).data.fitted_on == 9

    def test_whatever_memory_may_be_used(self) -> None:
        assert self.report(memory="1kB").data.fitted_on == 6

    def test_fewer_where_there_is_no_room_for_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = []
        for states in (1, 150_000, 200_000):
            monkeypatch.setattr("sepfactor.fit.build.STATES", states)
            found.append(self.report().data.fitted_on)
        assert found[0] == 1 < found[1] < found[2] < 9

    def test_is_kept_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        held: dict[int, int] = {}
        most = [0]
        advance = Propagation.advance

        def spy(walk: Propagation, position: int) -> None:
            advance(walk, position)
            if len(walk) > 1:  # not the one that finds out how much an image takes
                held[id(walk)] = walk.bytes
                most[0] = max(most[0], sum(held.values()))

        monkeypatch.setattr(Propagation, "advance", spy)
        monkeypatch.setattr("sepfactor.fit.build.STATES", 200_000)
        self.report()
        assert 100_000 < most[0] <= 200_000

    def test_layers_whose_moments_do_not_fit_stay(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Layers of 27 and 108 entries a patch; the second moments of the wide ones take 187 kB."""
        monkeypatch.setattr(method, "_MOST_ANYWHERE", 1000)
        entries = set()
        begin = MomentSums.__init__

        def spy(sums: MomentSums, shape: tuple[int, ...], *more: Any, **options: Any) -> None:
            entries.add(int(np.prod(shape)))
            begin(sums, shape, *more, **options)

        monkeypatch.setattr(MomentSums, "__init__", spy)
        first, *wide = self.report(memory="180kB").layers
        assert first.replaced
        assert entries == {27}
        for row in wide:
            assert not (row.replaced or row.corrected)
            assert row.reason is not None
            assert (row.reason.code, row.reason.detail) == ("no-room", "108 entries, 0.0 GB")
        assert all(row.replaced for row in self.report(memory="190kB").layers)
        assert entries == {27, 108}

    def test_but_they_do_where_nothing_is_fitted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(method, "_MOST_ANYWHERE", 0)
        assert self.report(memory="1B", refit=False).totals.replaced == 4
        assert self.report(memory="1B").totals.replaced == 0

    def test_bad_amounts(self) -> None:
        for amount in ("lots", "-2GB", 0):
            with pytest.raises(OptionError, match="memory"):
                self.report(memory=amount)


def test_nothing_is_fitted_where_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "Propagation", None)
    report = sepfactor.compress(
        networks.inseparable(), data={"image": networks.images()}, max_error=0.05, bench_seconds=0
    ).report
    assert report.data.fitted_on == 0


def test_a_single_sample_serves_for_all() -> None:
    report = sepfactor.compress(residual_network(), data={"x": smooth(1)}, **PLAN).report
    assert report.totals.replaced == 4
    assert report.data.fitted_on == 1
    assert report.data.samples == 1


def test_a_fixed_batch() -> None:
    model = residual_network()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    report = sepfactor.compress(model, data=DATA, **PLAN).report
    assert report.totals.replaced == 4
    assert all(row.fitted_error < row.unfitted_error for row in report.layers)
