"""What came of it, in one sentence."""

from __future__ import annotations

import pytest

from sepfactor.codes import Verdict
from sepfactor.results import ImageSettings, Ratio, Speed
from tests.report.samples import DATA, KEPT, TOP, accuracy, data, report, rich_report, timing


def of(**output: object) -> str:
    return rich_report(accuracy=accuracy(output)).headline


def test_speed_and_accuracy() -> None:
    certain = {"p_value": 0.01, "verdict": Verdict("certain", "more than chance")}
    assert of(top1=TOP | certain) == (
        "1.84× faster (95 % interval 1.81–1.88), top-1 90.0 → 87.5 % on 40 held-out samples"
    )


def test_what_may_be_chance_is_called_so() -> None:
    assert of(top1=TOP).endswith("on 40 held-out samples, a change that may be chance")
    assert "chance" not in of(top1=TOP | {"drop": 0.0})


TARGET = {"reference_psnr_db": 32.04, "candidate_psnr_db": 31.5, "drop_db": 0.54, "peak": 1.0}


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({"target": TARGET}, "32.0 dB → 31.5 dB"),
        ({"agreement": 0.975}, "same answer on 97.50 % on 40"),
        ({}, "output off by 1.23 % (SNR 38.2 dB)"),
        ({"relative_error": None, "nonfinite": 3}, "but output logits is NOT FINITE"),
        ({"mismatched": 1}, "another shape"),
    ],
)
def test_other_outputs(output: dict[str, object], words: str) -> None:
    assert words in of(**output)


def test_the_worst_output_speaks_for_all() -> None:
    outputs = accuracy({}, {"name": "boxes", "relative_error": 0.2, "snr_db": 14.0})
    assert "20.00 %" in rich_report(accuracy=outputs).headline


def test_synthetic_images_claim_no_accuracy() -> None:
    said = rich_report(data=data(synthetic=True)).headline
    assert "on 40 synthetic images, so no accuracy is claimed" in said


def test_what_tidying_gained_is_told_apart() -> None:
    def speed(tidied: float, factored: Ratio) -> Speed:
        return Speed(
            ratio=3.0,
            low=2.9,
            high=3.1,
            original=timing(6.0),
            prepared=timing(6.0 / tidied),
            result=timing(2.0),
            tidying=Ratio(ratio=tidied, low=tidied - 0.1, high=tidied + 0.1),
            factoring=factored,
        )

    both = speed(2.5, Ratio(ratio=1.2, low=1.1, high=1.3))
    assert both.line == (
        "3.00× faster (95 % interval 2.90–3.10): tidying the graph alone 2.50×, "
        "factoring alone 1.20× (95 % interval 1.10–1.30)"
    )
    assert both.verdict.text == "3.00× faster (95 % interval 2.90–3.10)"
    assert rich_report(speed=both).headline.startswith(f"{both.line}; ")
    none = speed(3.0, Ratio(ratio=1.0, low=0.98, high=1.03)).line
    assert none.endswith("alone 3.00×, factoring alone no measurable change (0.98–1.03)")
    slower = speed(3.3, Ratio(ratio=1 / 1.1, low=1 / 1.15, high=1 / 1.05)).line
    assert "factoring alone 1.10× slower" in slower


def test_not_timed() -> None:
    assert rich_report(speed=None).headline.startswith("1.82× fewer multiplications (not timed), ")


def test_nothing_replaced() -> None:
    none = report().totals.model_copy(update={"replaced": 0})
    kept = report(layers=(KEPT,), totals=none, accuracy=None)
    assert kept.headline == "Nothing of a[b].onnx was worth replacing"


def test_nothing_factored_but_rewritten() -> None:
    none = report().totals.model_copy(update={"replaced": 0})
    speed = Speed(ratio=1.5, low=1.4, high=1.6, original=timing(3.0), result=timing(2.0))
    found = rich_report(layers=(KEPT,), totals=none, speed=speed).headline
    assert found.startswith("Rewritten exactly, nothing factored: 1.50× faster")


def test_a_lower_case_verdict_starts_a_sentence() -> None:
    speed = Speed(ratio=1.0, low=0.98, high=1.03, original=timing(2.0), result=timing(2.0))
    assert rich_report(speed=speed).headline.startswith("No measurable change (0.98–1.03), ")


def test_samples() -> None:
    assert data(preprocessing=ImageSettings()).samples_text == "40 held-out images"
    assert data(judged_on=DATA.description, samples=1).samples_text == "1 sample"
