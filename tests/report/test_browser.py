"""The page in headless Chromium: it draws, sorts and filters, and asks nobody for anything."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sepfactor.codes import Reason
from sepfactor.report.html import COLUMNS, report_html
from sepfactor.results import Layer, StageRow
from tests.report.samples import FITTED, KEPT, layer, planning, rich_report

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytest.importorskip("jinja2")
pytest.importorskip("vl_convert")
selenium = pytest.importorskip("selenium.webdriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="there is no chromium with its chromedriver"),
]

FLAGS = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync"),
    *("disable-background-networking", "disable-component-update", "disable-dev-shm-usage"),
)
SECONDS = 60
HOSTILE = "<img src=x onerror=\"document.title='broken'\">"
Show = Callable[..., Any]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = selenium.Chrome(options=options, service=Service(str(DRIVER)))
    yield found
    found.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a report with many layers, one with an evil name."""
    layers = [
        layer(name=f"block{i}.conv", reason=Reason("x", "stays"), milliseconds_before=i % 7 + 0.5)
        for i in range(20)
    ]
    evil = KEPT.model_copy(update={"name": HOSTILE})
    report = rich_report(layers=(*rich_report().layers, evil, wide(), *layers))
    folder = tmp_path_factory.mktemp("page")
    (folder / "plan.html").write_text(report_html(planning()), encoding="utf-8")
    file = folder / "run.html"
    file.write_text(report_html(report), encoding="utf-8")
    return file


def wide() -> Layer:
    """With much to say in every column."""
    longest: dict[str, Any] = {
        "weight_shape": (1024, 1, 3, 3),
        "group": 1024,
        "strides": (2, 2),
        "map_size": (120, 160),
        "macs_before": 27_900_000,
        "macs_after": 12_300_000,
        "milliseconds_before": 0.0895,
        "milliseconds_after": 0.0135,
        "trial_speedup": 11.64,
        "trial_interval": (11.59, 12.75),
        "scheme": "separable-depthwise",
        "rank": (48, 64),
        "chains": 3 * (3 * (StageRow(weight_shape=(1024, 1, 3, 1), group=1024, strides=(2, 1), macs=9),),),
        "spectrum": {"separable-depthwise": ((1, 0.5), (2, 0.2), (3, 0.0))},
    }
    return layer(name="backbone/stage3/block12/depthwise_conv", replaced=True, **FITTED | longest)


@pytest.fixture
def show(driver: Any, page: Path) -> Show:
    """The page at a width, in light or dark, once everything is drawn."""

    def at(width: int = 1280, *, dark: bool = False, name: str = "run.html") -> Any:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for log in ("browser", "performance"):
            driver.get_log(log)
        driver.get(page.with_name(name).as_uri())
        end = time.monotonic() + SECONDS
        while not driver.execute_script("return document.documentElement.dataset.ready"):
            assert time.monotonic() < end, driver.get_log("browser")
            time.sleep(0.05)
        return driver

    return at


def rows(driver: Any) -> list[list[str]]:
    """What the table shows."""
    script = (
        "return [...document.querySelectorAll('#layers tbody tr')].filter((row) => !row.hidden)"
        ".map((row) => [...row.cells].map((cell) => cell.innerText.trim()))"
    )
    found: list[list[str]] = driver.execute_script(script)
    return found


def click(driver: Any, selector: str) -> None:
    driver.execute_script("document.querySelector(arguments[0]).click()", selector)


def test_every_chart_is_drawn_and_nothing_complains(show: Show) -> None:
    driver = show()
    marks = ", ".join(f"#chart-${{name}} .mark-{kind} path" for kind in ("rect", "symbol", "line"))
    names = "Object.keys(JSON.parse(document.getElementById('charts').textContent))"
    drawn = driver.execute_script(
        f"return {names}.map((name) => [name, document.querySelectorAll(`{marks}`).length])"
    )
    assert {name for name, _ in drawn} == {"front", "times", "errors", "spectrum", "histogram-0"}
    assert all(marks > 0 for _, marks in drawn), drawn
    assert driver.get_log("browser") == []


def test_pictures_are_shown(show: Show) -> None:
    widths = show().execute_script("return [...document.images].map((image) => image.naturalWidth)")
    assert widths == [8]


def test_nothing_is_asked_for(show: Show, page: Path) -> None:
    driver = show()
    messages = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in asked
    assert all(url == page.as_uri() or url.startswith("data:") for url in asked), asked


def test_it_could_not_ask_if_it_wanted_to(show: Show) -> None:
    script = (
        "const done = arguments[0];"
        "document.addEventListener('securitypolicyviolation', (e) => done(e.violatedDirective));"
        "fetch('http://127.0.0.1:9/').then(() => done('it went'), () => {})"
    )
    assert show().execute_async_script(script) == "connect-src"


def test_hostile_names_do_nothing(show: Show) -> None:
    driver = show()
    assert any(HOSTILE in row for row in rows(driver))
    assert driver.title != "broken"


def test_sorting(show: Show) -> None:
    driver = show()
    layers = len(rows(driver))
    heads = driver.execute_script(
        "return [...document.querySelectorAll('#layers thead th')].map((head) => head.innerText.trim())"
    )
    column = heads.index("ms")
    button = f"#layers thead th:nth-child({column + 1}) button"
    for descending in (False, True):
        click(driver, button)
        shown = [float(row[column].split(" →")[0]) for row in rows(driver)]
        assert len(shown) == layers
        assert shown == sorted(shown, reverse=descending)
    click(driver, f"#layers thead th:nth-child({heads.index('Alone') + 1}) button")
    alone = [row[heads.index("Alone")] for row in rows(driver)]
    assert [ratio.split()[0] for ratio in alone[:2]] == ["4.87×", "11.64×"]
    assert set(alone[2:]) == {"–"}  # what is unknown comes last, whichever way


def test_filtering(show: Show) -> None:
    driver = show()
    layers = len(rows(driver))

    def choose(name: str, text: str, event: str) -> None:
        script = "const [n, text, e] = arguments, place = document.getElementById(n);"
        driver.execute_script(
            f"{script} place.value = text; place.dispatchEvent(new Event(e))", name, text, event
        )

    choose("find", "BLOCK1 stays", "input")
    assert [row[1] for row in rows(driver)] == [f"block{i}.conv" for i in (1, *range(10, 20))]
    assert driver.find_element("id", "found").text == f"11 of {layers}"
    choose("find", "nothing is called that", "input")
    assert rows(driver) == []
    choose("find", "", "input")
    choose("show", "replaced", "change")
    assert [row[1] for row in rows(driver)] == ["body.first", "middle", wide().name]


def test_a_click_on_a_layer_shows_its_ranks(show: Show) -> None:
    driver = show()
    assert driver.execute_script("return document.getElementById('pick').value") == "0"
    click(driver, ".pick[data-layer='1']")
    end = time.monotonic() + SECONDS
    while "taken" in driver.find_element("id", "chart-spectrum").text:  # that layer was kept
        assert time.monotonic() < end
        time.sleep(0.05)
    assert driver.execute_script("return document.getElementById('pick').value") == "1"
    assert "channel-out" in driver.find_element("id", "chart-spectrum").text
    assert driver.get_log("browser") == []


def test_ranks_are_whole_numbers(show: Show) -> None:
    driver = show()
    script = (
        "return [...document.querySelectorAll('#chart-spectrum .role-axis-label')][0]"
        ".textContent.split(/(?<=\\d)(?=\\d)/).join('')"
    )
    click(driver, ".pick[data-layer='4']")  # of ranks up to 3
    end = time.monotonic() + SECONDS
    while "separable" not in driver.find_element("id", "chart-spectrum").text:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert driver.execute_script(script) == "123"


def test_every_figure_says_what_it_is(show: Show) -> None:
    labels = show().execute_script(
        "return [...document.querySelectorAll('[role=graphics-document]')].map((e) => e.ariaLabel)"
    )
    assert len(labels) == 5
    assert all(labels)
    assert len(set(labels)) == 5


def test_layers_that_stay_are_pale(show: Show) -> None:
    opacities = show().execute_script(
        "return [...document.querySelectorAll('#chart-times .mark-rect path')].map((p) => [p.ariaLabel,"
        " Number(getComputedStyle(p).opacity)])"
    )
    assert {opacity for name, opacity in opacities if "head.last" in name} == {0.45}
    assert {opacity for name, opacity in opacities if "body.first" in name} == {1}


@pytest.mark.parametrize("width", [390, 820, 1080, 1100, 1280])
def test_no_column_is_cut(width: int, show: Show) -> None:
    driver = show(width)
    script = "const e = document.querySelector('#layers .scroll'); return [e.scrollWidth, e.clientWidth]"
    whole, seen = driver.execute_script(script)
    assert whole <= seen
    ends = driver.execute_script(
        "return [...document.querySelectorAll('#layers tbody :is(td, th)')]"
        ".map((cell) => cell.getBoundingClientRect().right)"
    )
    assert 0 < max(ends) <= width


def test_on_a_phone_figures_have_their_names_beside_them(show: Show) -> None:
    driver = show(390)
    script = (
        "return [...document.querySelector('#layers tbody').rows[4].cells].map((cell) =>"
        " [cell.checkVisibility(), getComputedStyle(cell, '::before').content])"
    )
    shown = driver.execute_script(script)
    assert all(visible for visible, _ in shown)
    assert [said.strip('" ') for _, said in shown[4:]] == [column.head for column in COLUMNS[4:]]
    unknown = driver.execute_script(script.replace("[4]", "[1]"))
    assert [visible for visible, _ in unknown] == [cell != "–" for cell in rows(driver)[1]]
    click(driver, "#layers thead th:nth-child(6) button")  # sorting is still there
    assert driver.execute_script("return document.querySelector('[aria-sort]').innerText").startswith("ms")


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_it_fits_the_screen(width: int, show: Show) -> None:
    driver = show(width)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    charts = driver.execute_script(
        "return [...document.querySelectorAll('.chart svg')].map((svg) => svg.getBoundingClientRect().right)"
    )
    assert charts
    assert max(charts) <= width


def test_dark_and_light_differ_and_both_can_be_read(show: Show) -> None:
    def colours(dark: bool) -> tuple[float, float]:
        driver = show(dark=dark)
        names = ("document.body", "document.querySelector('.chart svg text')")
        paper = driver.execute_script(f"return getComputedStyle({names[0]}).backgroundColor")
        ink = driver.execute_script(f"return getComputedStyle({names[1]}).fill")
        return _brightness(paper), _brightness(ink)

    light, dark = colours(False), colours(True)
    assert light[0] > 200 > 150 > light[1]
    assert dark[0] < 60 < 120 < dark[1]


def _brightness(colour: str) -> float:
    channels = [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    return sum(channels) / 3


def test_it_prints_in_ink_on_paper(show: Show) -> None:
    driver = show(dark=True)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    paper = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert _brightness(paper) == 255


def test_charts_are_drawn_anew_for_paper(show: Show) -> None:
    driver = show()

    def state() -> tuple[list[float], bool]:
        widths, is_open = driver.execute_script(
            "return [[...document.querySelectorAll('.chart svg')].map((svg) => svg.width.baseVal.value),"
            " document.querySelector('#layers details').open]"
        )
        return widths, is_open

    before = state()
    driver.execute_script("dispatchEvent(new Event('beforeprint'))")
    widths, is_open = state()
    assert is_open
    assert all(600 < width < 720 for width in widths), widths
    driver.execute_script("dispatchEvent(new Event('afterprint'))")
    end = time.monotonic() + SECONDS
    while state() != before:
        assert time.monotonic() < end, state()
        time.sleep(0.05)
    assert min(before[0]) > 720


@pytest.mark.parametrize("width", [390, 1280])
def test_plans(width: int, show: Show) -> None:
    driver = show(width, name="plan.html")
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    numbers = (
        "return [...document.querySelectorAll('#chart-front .role-mark text')].map((t) => t.textContent)"
    )
    assert sorted(driver.execute_script(numbers)) == ["1", "2", "3"]
    assert len(driver.find_elements("css selector", "#front tbody tr")) == 3
    assert driver.get_log("browser") == []
