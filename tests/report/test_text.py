"""Numbers as people read them, and the report in words."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType

from sepfactor.codes import Reason
from sepfactor.report.inspected import inspection_verdict, inspection_view
from sepfactor.report.markup import view
from sepfactor.report.text import bench_view, comparison_view, report_view
from sepfactor.results import Document, Inspection, Layer, LayerInspection, OutputDifference, Ratio, Speed
from sepfactor.words import count, decibel, error, milliseconds, percent, signed
from tests.report.samples import (
    KEPT,
    OUTPUT,
    REPLACED,
    TOP,
    accuracy,
    bench,
    comparison,
    data,
    inspection,
    layer,
    report,
    rewritten,
    timing,
)


def shown(view: RenderableType, width: int = 160) -> str:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, highlight=False).print(view)
    return file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (999_600, "1 M"),
        (1_234_567, "1.23 M"),
        (5e9, "5 G"),
    ],
)
def test_counts(value: float | None, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.0745, "0.0745"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1234")]
)
def test_milliseconds(value: float | None, text: str) -> None:
    assert milliseconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0 %"), (1e-9, "1.0e-07 %"), (0.012345, "1.23 %"), (0.99994, "99.99 %")),
        *((0.99999, "100 %"), (1, "100 %"), (math.nan, "nan %")),
    ],
)
def test_percentages(value: float, text: str) -> None:
    assert percent(value) == text


def test_nothing_lost_is_called_lossless() -> None:
    assert error(1e-8, exact=True) == "lossless"
    assert error(0.05, exact=False) == "5.00 %"
    assert error(None, exact=False) == "–"


def test_a_minus_is_a_minus_sign() -> None:
    assert percent(-0.0123) == "−1.23 %"
    assert decibel(-3.04) == "−3.0 dB"
    assert signed(-0.001, 2) == "0.00"
    assert "(drop −5.00 points; may be" in line(top1=TOP | {"drop": -0.05}, cosine=-0.5)
    assert "-" not in line(cosine=-0.5)


def test_decibels() -> None:
    assert decibel(None) == decibel(math.inf) == "∞ dB"
    assert decibel(31.44) == "31.4 dB"


def line(**fields: object) -> str:
    return OutputDifference.model_validate(OUTPUT | fields).line()


class TestOutputs:
    def test_a_map(self) -> None:
        assert line() == "off by 1.23 %, SNR 38.2 dB, PSNR 44.0 dB, cosine 0.99992"

    def test_class_scores(self) -> None:
        said = line(agreement=0.975, kl=0.0031, top1=TOP)
        assert "same answer on 97.50 % of 40, KL 0.0031" in said
        assert "top-1 90.00 % → 87.50 % (drop 2.50 points;" in said
        assert "PSNR" not in said

    def test_a_drop_comes_with_what_may_be_concluded_from_it(self) -> None:
        assert "(drop 2.50 points; may be chance: 95 % interval" in line(top1=TOP)
        none = TOP | {"lost": 0, "gained": 0, "drop": 0.0}
        assert "(no sample differs)" in line(top1=none)

    def test_equal(self) -> None:
        said = line(relative_error=0.0, snr_db=None, psnr_db=None, cosine=1.0)
        assert said == "off by 0 %, SNR ∞ dB, PSNR ∞ dB, cosine 1.00000"

    def test_no_longer_finite(self) -> None:
        assert "NOT FINITE in 7 values" in line(relative_error=None, nonfinite=7)

    def test_of_another_shape(self) -> None:
        assert "shape differs" in line(mismatched=2)

    def test_against_the_truth(self) -> None:
        target = {"reference_psnr_db": 32.0, "candidate_psnr_db": 31.5, "drop_db": 0.5, "peak": 1.0}
        assert "against the target 32.0 dB → 31.5 dB" in line(target=target)


class TestReport:
    @pytest.mark.parametrize("width", [80, 160])
    def test_replaced_come_before_kept_and_both_before_the_sum(self, width: int) -> None:
        text = shown(report_view(report()), width)
        places = [text.index(word) for word in ("body.first", "lossless", "head.last", "1 of 2 convolutions")]
        assert places == sorted(places)

    def test_what_is_in_it_at_full_width(self) -> None:
        text = shown(report_view(report()))
        for word in (
            *("3→16 5×5", "16×16", "separable-depthwise 1", "307 k → 30.7 k", "1.2 k → 120", "1.25 → 0.25"),
            *(
                "4.87×",
                "put back: it measured no faster",
                "a[b].onnx → [/c].onnx",
                "614 k → 338 k (1.82× fewer)",
            ),
            *("0.15 MB → 9.0 kB", "Output logits", "x.npz: 40 samples", "[any] one, 1 thread"),
        ):
            assert word in text

    def test_speed(self) -> None:
        speed = Speed(
            ratio=2.0,
            low=1.9,
            high=2.1,
            original=timing(2.0),
            prepared=timing(1.5),
            result=timing(1.0),
            tidying=Ratio(ratio=1.33, low=1.3, high=1.4),
            factoring=Ratio(ratio=1.5, low=1.4, high=1.6),
        )
        text = shown(report_view(report(speed=speed)))
        assert "): tidying the graph alone 1.33×, factoring alone 1.50× (95 %" in text
        assert "prepared 1.5 ms (1.42–1.5" in text
        assert "30 interleaved runs" in text

    def test_notes_stand_out(self) -> None:
        assert "! mind this" in shown(report_view(report(notes=("mind this",))))

    def test_nothing_replaced(self) -> None:
        text = shown(report_view(report(layers=(KEPT,), accuracy=None, output=None)))
        assert "not written" in text
        assert "Replaced  " not in text.splitlines()[0]

    @pytest.mark.parametrize("width", [80, 120, 160])
    def test_kept_layers_take_a_line_for_each_reason(self, width: int) -> None:
        slow = [
            layer(name=f"a{i}", reason=Reason("no-faster", "put back: no faster", f"tucker2 {i}×2, 0.8×"))
            for i in range(9)
        ]
        rough = [
            layer(
                name=f"b{i}",
                reason=Reason("rough", "nothing cheaper stays within 0.1", f"closest: trim, off by 0.{i}"),
            )
            for i in range(1, 4)
        ]
        text = shown(report_view(report(layers=(REPLACED, *rough, *slow))), width)
        rows = [
            line.split() for line in text.splitlines() if " put back: " in line or " nothing cheaper " in line
        ]
        assert [row[0] for row in rows] == ["9", "3"]  # what takes more time comes first
        assert "closest" not in text
        whole = shown(report_view(report(layers=(REPLACED, *rough, *slow))).opened(), 200)
        assert all(f"off by 0.{i}" in whole for i in range(1, 4))
        assert "a8" in whole

    def test_fully_connected_layers_are_no_convolutions(self) -> None:
        assert "1 of 2 convolutions" in shown(report_view(report()))
        text = shown(
            report_view(report(layers=(REPLACED, KEPT.model_copy(update={"weight_shape": (10, 64)}))))
        )
        assert "1 of 2 layers" in text
        assert "convolutions" not in text

    def test_nothing_gained_is_said_so(self) -> None:
        sums = report().totals.model_copy(update={"macs_after": 614_400})
        assert re.search(r"MACs +614 k, unchanged", shown(report_view(report(totals=sums))))

    def test_a_layer_that_never_ran(self) -> None:
        bare = Layer(name="idle", output="z", weight_shape=(), reason=Reason("not-run", "it did not run"))
        assert "it did not run" in shown(report_view(report(layers=(bare,))))

    def test_infinities_are_null_in_json(self) -> None:
        text = report(accuracy=accuracy({"relative_error": 0.0, "snr_db": math.inf})).to_json()
        assert "Infinity" not in text
        assert '"snr_db": null' in text


def test_inspection() -> None:
    text = shown(inspection_view(inspection()).opened())
    for words in (
        "90 / 99 / 99.9 %",
        *("1 / 2 / 4", "any / any / any", "25.0 %"),
        "Conv 75 %, Add 25 %",
    ):
        assert words in text
    assert " two " in text  # the commonest reason
    empty = inspection().model_copy(update={"operators": {}, "layers": inspection().layers[1:]})
    assert "two" in shown(inspection_view(empty))


class TestInspection:
    """Which layers matter, and whether the network is worth it."""

    @staticmethod
    def of(*shares: float, left: float = 0.5, **fields: object) -> Inspection:
        rows = (
            LayerInspection(
                name=f"conv{i}.",
                output=f"y{i}",
                weight_shape=(16, 16, 3, 3),
                share=share,
                macs=1000,
                ranks={"spatial-vertical": ((1,), (2,), (4,))},
                least_scheme="spatial-vertical",
                least_rank=(2,),
                least_macs=round(1000 * left),
            )
            for i, share in enumerate(shares)
        )
        return inspection().model_copy(update={"layers": tuple(rows), **fields})

    def test_the_verdict_goes_by_the_time_that_could_be_saved(self) -> None:
        assert inspection_verdict(self.of(0.5, 0.3)).startswith(
            "Worth compressing: 2 of 2 convolutions, with 80 %"
        )
        assert inspection_verdict(self.of(0.2)).startswith("Perhaps worth it: 1 of 1 convolutions, with 20 %")
        assert inspection_verdict(self.of(0.02)).startswith(
            "Little to gain: only 1 of 1 convolutions, with 2 %"
        )
        assert inspection_verdict(self.of(0.9, left=0.95)).startswith("Little to gain: none of 1")

    def test_what_exact_rewriting_gains_goes_first(self) -> None:
        surely = self.of(0.02, rewritten=Ratio(ratio=2.1, low=2.0, high=2.2))
        assert inspection_verdict(surely).startswith("Worth tidying: about 2.1× as fast (2.00–2.20)")
        assert "Factoring: little to gain" in inspection_verdict(surely)
        open_ = self.of(0.02, rewritten=Ratio(ratio=1.05, low=0.99, high=1.1))
        assert inspection_verdict(open_).startswith("Little to gain")

    def test_layers_that_do_not_pay_are_not_counted(self) -> None:
        found = self.of(0.5, 0.3)
        small = tuple(la.model_copy(update={"weight_shape": (16, 16, 1, 1)}) for la in found.layers)
        said = inspection_verdict(found.model_copy(update={"layers": small}))
        assert said.startswith("Little to gain: none of 2 convolutions is larger than 1×1")

    def test_what_is_quantised_stays(self) -> None:
        found = self.of(0.5, 0.3)
        reason = Reason("quantised", "its weight is quantised")
        rows = tuple(layer.model_copy(update={"reason": reason}) for layer in found.layers)
        said = inspection_verdict(found.model_copy(update={"layers": rows}))
        assert said == "Little to gain: 2 of 2 convolutions are quantised already, and stay"

    def test_made_up_inputs_are_said_to_be(self) -> None:
        assert "made-up" not in inspection_verdict(self.of(0.5))
        assert "made-up" in inspection_verdict(self.of(0.5, data=data(synthetic=True)))

    def test_layers_that_take_little_time_are_counted(self) -> None:
        found = self.of(*(0.01 * i for i in range(14)))
        text = shown(inspection_view(found))
        assert all(f"conv{i}. " in text for i in range(2, 14))
        assert "conv0. " not in text
        assert "conv1. " not in text
        assert "2 more, 1 % of the time together; --all shows them" in text
        assert text.index("conv13.") < text.index("conv2.")
        whole = shown(inspection_view(found).opened())
        assert all(f"conv{i}. " in whole for i in range(14))
        assert "Not shown" not in whole

    def test_few_layers_keep_their_order(self) -> None:
        text = shown(inspection_view(self.of(0.1, 0.5, 0.2)))
        assert text.index("conv0.") < text.index("conv1.") < text.index("conv2.")
        assert "Not shown" not in text

    def test_the_next_command(self) -> None:
        assert "sepfactor compress m.onnx" in shown(
            inspection_view(self.of(0.5), "sepfactor compress m.onnx")
        )
        assert "Next" not in shown(inspection_view(self.of(0.5)))


def test_bench() -> None:
    text = shown(bench_view(bench()))
    for words in ("a[b].onnx", "baseline", "1.900–2.100", "no measurable change", "own number of threads"):
        assert words in text


class TestComparison:
    def test_what_is_in_it(self) -> None:
        text = shown(comparison_view(comparison()))
        for words in ("a[b].onnx", "c.onnx", "1.23 %", "38.2 dB", "90.00 %", "87.50 %", "may be chance", "▁"):
            assert words in text

    @pytest.mark.parametrize("width", [80, 160])
    def test_it_fits(self, width: int) -> None:
        lines = shown(comparison_view(comparison()), width).splitlines()
        assert all(cell_len(line) <= width for line in lines)

    def test_every_count_has_a_bar_and_nothing_none(self) -> None:
        text = shown(comparison_view(comparison()))
        line = next(line for line in text.splitlines() if "Errors logits" in line)
        assert "0.001 ▁ █ 0.03" in line  # counts 1, 0, 900


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("make", [report, inspection, bench, comparison, rewritten])
def test_no_line_is_wider_than_the_terminal(make: Callable[[], Document], width: int) -> None:
    assert all(cell_len(line) <= width for line in shown(view(make()), width).splitlines())


def test_tidied() -> None:
    text = shown(view(rewritten()))
    assert "1.50× faster (95 % interval 1.40–1.60): 3 ms → 2 ms" in text
    assert "117.0 dB at y[0], 3.0 units in the last place at most (rounding alone: 111.0 dB)" in text
    assert "−0.500" in text
    assert "no: the network is" in text


def test_what_tidying_left_as_it_was() -> None:
    as_it_was = {"is_changed": False, "result": None, "speedup": None, "rules": ()}
    text = shown(view(rewritten().model_copy(update=as_it_was)))
    assert "nothing was found" in text
    assert "a copy" in text
