"""The picture of the README."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from tests.report.samples import rich_report

pytest.importorskip("vl_convert")
from benchmarks.picture import picture


def test_every_layer_is_drawn_before_and_after_in_plain_svg() -> None:
    sample = rich_report()
    text = picture(sample)
    ElementTree.fromstring(text)
    assert "var(--" not in text
    assert not re.search(r"(?:href|src)=.https?:", text)
    bars = sum(
        ms is not None
        for layer in sample.layers
        for ms in (layer.milliseconds_before, layer.milliseconds_after)
    )
    assert text.count('aria-roledescription="bar"') == bars
    assert sample.speed is not None
    assert sample.speed.verdict.text in text


def test_without_times_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="not timed"):
        picture(rich_report().model_copy(update={"speed": None}))
