"""Layers as tables."""

from __future__ import annotations

import sys

import pytest

from sepfactor.errors import OptionError
from tests.report.samples import bench, rich_report

pandas = pytest.importorskip("pandas")


def test_a_row_for_every_layer_with_reasons_as_codes_and_in_words() -> None:
    report = rich_report()
    table = report.layers_frame()
    assert list(table["name"]) == [layer.name for layer in report.layers]
    assert list(table["macs_after"]) == [layer.macs_after for layer in report.layers]
    for (_, row), layer in zip(table.iterrows(), report.layers, strict=True):
        if layer.reason is None:
            assert pandas.isna(row["reason"])
        else:
            assert (row["reason"], row["why"]) == (layer.reason.code, str(layer.reason))


def test_what_has_no_layers_says_so() -> None:
    with pytest.raises(OptionError, match="A Bench has no layers"):
        bench().layers_frame()


def test_without_pandas_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(OptionError, match="pandas"):
        rich_report().layers_frame()
