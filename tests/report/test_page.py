"""The page as a file: it needs nothing else, and nothing in it can break out of where it stands."""

from __future__ import annotations

import builtins
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from sepfactor.codes import BudgetVerdict, Reason
from sepfactor.errors import OptionError
from sepfactor.report import html
from sepfactor.report.charts import charts
from sepfactor.report.html import COLUMNS, report_html
from sepfactor.results import Budget
from tests.report.samples import KEPT, accuracy, planning, rich_report, tidied

pytest.importorskip("jinja2")
pytest.importorskip("vl_convert")

HOSTILE = "</script><script>alert(1)</script><!--\u2028\"'><img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Tags with their attributes, text, and what stands in scripts by their ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.headline = ""
        self.scripts: dict[str | None, str] = {}
        self._script: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        self._script = dict(attrs).get("id", f"script {len(self.tags)}") if tag == "script" else None

    def handle_endtag(self, tag: str) -> None:
        self._script = None
        if tag == "h1":
            self.headline = plain(self.text.rpartition("\n")[2])

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self.text += data
        else:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data


def plain(text: str) -> str:
    """Without the signs that keep a line from breaking."""
    return text.replace("\u00a0", " ").replace("\u2060", "").replace("‑", "-").strip()


def test_it_asks_for_nothing_from_elsewhere() -> None:
    for tag, attributes in Page(report_html(rich_report())).tags:
        for name in ("src", "href", "data", "action", "srcset"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), (tag, attributes)
    assert not re.search(r"@import|url\((?!data:)", html._read("report.css"))


def test_it_is_small_enough_to_mail() -> None:
    assert len(report_html(rich_report()).encode()) < 1_100_000


def test_it_holds_the_report_it_was_made_from() -> None:
    page = Page(report_html(rich_report()))
    assert json.loads(page.scripts["report"]) == json.loads(rich_report().to_json())


def test_hostile_names_stay_text() -> None:
    layer = KEPT.model_copy(update={"name": HOSTILE, "reason": Reason("x", HOSTILE)})
    report = rich_report(model=HOSTILE, notes=(HOSTILE,), layers=(layer,), options={HOSTILE: HOSTILE})
    page, usual = Page(report_html(report)), Page(report_html(rich_report()))
    assert json.loads(page.scripts["report"])["model"] == HOSTILE
    assert len(page.scripts) == len(usual.scripts)
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert page.text.count(HOSTILE) >= 4


def test_what_comes_first() -> None:
    text = Page(report_html(rich_report())).text
    places = [
        text.index(words) for words in ("1.84× faster", "Measured with onnxruntime", "mind this", "What more")
    ]
    assert places == sorted(places)


@pytest.mark.parametrize("speed", [rich_report().speed, tidied(), None])
def test_the_headline_is_the_verdict(speed: Any) -> None:
    report = rich_report(speed=speed, model="a (b) <c>.onnx")
    assert Page(report_html(report)).headline == report.headline


def test_what_tidying_gained_is_not_credited_to_factoring() -> None:
    page = Page(report_html(rich_report(speed=tidied())))
    assert "factoring alone 1.04×" in page.headline
    assert "2.08 ms tidied but not factored" in plain(page.text)
    assert "from profiles before and after factoring" in page.text
    speed = tidied().model_copy(update={"tidying": None, "factoring": None})
    usual = Page(report_html(rich_report(speed=speed)))
    assert "tidied" not in usual.text
    assert "tidying" not in usual.text


def test_bars_of_a_histogram_are_explained() -> None:
    text = Page(report_html(rich_report())).text
    assert "the share of all values whose error lies between its two edges" in text
    assert "99 % of the values are off by no more than 0.032, and 9.90 % are equal." in text


def test_every_column_is_explained() -> None:
    page = Page(report_html(rich_report()))
    for column in COLUMNS:
        assert column.head in page.text
        assert page.text.count(column.words) == 1
    rows = report_html(rich_report()).count('<tr role="row"')
    heads = {attributes["data-head"] for _, attributes in page.tags if attributes.get("data-head")}
    assert heads == {column.head for column in COLUMNS[2:]}
    assert rows == 1 + len(rich_report().layers)


def test_every_picture_and_chart_says_what_it_is() -> None:
    page = Page(report_html(rich_report()))
    assert [a["alt"] for tag, a in page.tags if tag == "img"] == [
        "Sample 3: class 4 → 9 (was right), went in"
    ]
    for spec in charts(rich_report()).values():
        assert spec["description"]


def test_axes_of_figures_have_titles() -> None:
    found = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            for axis in ("x", "y"):
                channel = value.get(axis)
                if isinstance(channel, dict) and channel.get("type") == "quantitative":
                    found.append(channel["title"])
            for part in value.values():
                look(part)
        elif isinstance(value, list):
            for part in value:
                look(part)

    look(charts(rich_report()))
    assert len(found) >= 8
    assert all(found)


def test_a_page_of_plans() -> None:
    page = Page(report_html(planning()))
    assert page.headline == "3 plans for a[b].onnx: 1.30× to 2.40× as fast"
    assert json.loads(page.scripts["report"]) == json.loads(planning().to_json())
    rows = json.loads(page.scripts["charts"])["front"]["data"]["values"]
    assert [(row["number"], row["label"], row["unbeaten"]) for row in rows] == [
        (1, "a.plan-1.json", True),
        (2, "a.plan-2.json", False),
        (3, "a.plan-3.json", True),
    ]
    for file in planning().plans:
        assert page.text.count(file) == 1


def test_a_page_of_one_plan() -> None:
    points = tuple(p.model_copy(update={"chosen": p.snr_db == 50.0}) for p in planning().front)
    budget = Budget(verdict=BudgetVerdict("kept", True, "SNR at least 45 dB: kept, 50.0 dB"))
    page = Page(report_html(planning(front=points, budget=budget, plans=("a.plan.json",))))
    assert page.headline == "A plan for a[b].onnx: 2.40× as fast, SNR 50.0 dB"
    assert budget.verdict.text in page.text
    assert "a.plan.json" in page.text
    bare = Page(report_html(planning(front=(), plans=("a.plan.json",))))
    assert bare.headline == "A plan for a[b].onnx, layer by layer"
    assert "front" not in json.loads(bare.scripts["charts"])


def test_parts_without_data_are_left_out() -> None:
    bare = rich_report(layers=(KEPT,), front=None, pictures=(), accuracy=None, speed=None)
    ids = {attributes.get("id") for _, attributes in Page(report_html(bare)).tags}
    assert "layers" in ids
    assert ids.isdisjoint({"front", "pictures", "outputs", "spectrum", "errors"})


def test_every_chart_has_its_place() -> None:
    page = Page(report_html(rich_report()))
    ids = {attributes.get("id") for _, attributes in page.tags}
    drawn = json.loads(page.scripts["charts"])
    assert set(drawn) == {"front", "times", "errors", "spectrum", "histogram-0"}
    assert {f"chart-{name}" for name in drawn} <= ids


def test_charts_hold_what_the_report_says() -> None:
    drawn = charts(rich_report())
    times = drawn["times"]["data"]["values"]
    assert [(r["layer"], r["side"], r["ms"]) for r in times][:3] == [
        ("1 · body.first", "before", 1.25),
        ("1 · body.first", "after", 0.25),
        ("2 · head.last", "before", 1.25),
    ]
    assert {r["is"]: r["loss"] for r in drawn["front"]["data"]["values"]} == pytest.approx(
        {"timed": 0.1, "chosen": 0.4, "predicted speed": 2.0}
    )
    # One in a thousand has a smaller error still, and is not worth two empty decades.
    assert sum(r["share"] for r in drawn["histogram-0"]["data"]["values"]) == pytest.approx(0.9)


def test_the_chosen_network_stands_where_its_file_was_measured() -> None:
    points = tuple(p.model_copy(update={"interval": None, "speedup": 2.0}) for p in rich_report().front or ())
    rows = charts(rich_report(front=points))["front"]["data"]["values"]
    assert {row["is"]: (row["low"], row["speedup"], row["high"]) for row in rows} == {
        "chosen": (1.81, 1.84, 1.88),
        "predicted speed": (2.0, 2.0, 2.0),
    }


def test_names_on_axes_are_unique_and_short() -> None:
    layers = tuple(KEPT.model_copy(update={"name": "a/very/long/name/of/a/layer"}) for _ in range(12))
    names = {row["layer"] for row in charts(rich_report(layers=layers))["times"]["data"]["values"]}
    assert len(names) == 12
    assert all(len(name) <= 26 for name in names)


@pytest.mark.parametrize("package", ["jinja2", "vl_convert"])
def test_without_the_extra_it_says_what_to_install(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def lacking(name: str, *rest: Any, **more: Any) -> Any:
        if name == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(
        OptionError, match=rf"needs the package {package}.*pip install jinja2 vl-convert-python\."
    ):
        html.check_html()


def test_how_it_was_measured() -> None:
    said = plain(Page(report_html(rich_report())).text)
    for word in ("onnxruntime 1.0", "[any] one", "1 thread", "x.npz: 40 samples", "80 samples", "Seed 7"):
        assert word in said


def test_a_page_of_equal_outputs() -> None:
    """Infinite decibels are no JSON, and no page either if they got through."""
    equal = accuracy({"relative_error": 0.0, "snr_db": None, "psnr_db": None})
    page = Page(report_html(rich_report(accuracy=equal)))
    assert json.loads(page.scripts["report"], parse_constant=pytest.fail)["accuracy"]["outputs"]
    assert "SNR ∞ dB" in plain(page.text)
