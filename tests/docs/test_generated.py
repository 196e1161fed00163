"""What the manual says of the code is what the code says."""

from __future__ import annotations

import importlib
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

import sepfactor
from docs import generate
from sepfactor.cli import COMMANDS
from sepfactor.codes import BudgetVerdict
from sepfactor.factor import SCHEME_NAMES, select_schemes
from sepfactor.options import Options
from sepfactor.report.text import report_view
from sepfactor.results import Budget, Tuning
from tests.docs.blocks import PAGES, ROOT
from tests.report.samples import rich_report
from tests.timing import decide_engine

DOCS = ROOT / "docs"


@pytest.mark.parametrize("name", generate.pages())
def test_pages_are_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == generate.pages()[name], "run python -m docs.generate"


def test_every_option_is_told_of_once() -> None:
    rows = re.findall(
        r"^\| `([a-z0-9-]+)` \|", (DOCS / "options.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(rows) == sorted(name.replace("_", "-") for name in Options.model_fields)


def test_every_reason_is_found_where_it_is_given() -> None:
    """A few that anybody would look for: should the code say them otherwise, the collector is blind."""
    found = {text: code for reasons in generate.reasons().values() for text, code in reasons.items()}
    assert len(found) > 30
    for part in (
        "put back: ",
        "left alone as asked",
        "nothing cheaper stays within",
        "not a constant",
        "1×1",
    ):
        assert any(part in reason for reason in found), part


def pattern_of(text: str) -> str:
    """Of what a template may say."""
    return ".*".join(re.escape(part) for part in text.split(generate.GAP))


@pytest.mark.parametrize("name", ["digits_resnet", "upscale2x", "fixed_filters"])
def test_reasons_given_for_real_layers_are_in_the_list(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decide_engine(monkeypatch)
    found = [item for reasons in generate.reasons().values() for item in reasons.items()]
    options = {"scheme": "spatial", "max_error": 1e-4, "limit": 1, "refit": False}
    _, plans = sepfactor.plan(f"{ROOT}/models/{name}.onnx", **options)
    seen = sepfactor.inspect(f"{ROOT}/models/{name}.onnx", limit=1)
    given = {layer.reason for layer in plans[0].layers} | {layer.reason for layer in seen.layers}
    given |= {reason for layer in seen.layers for reason in layer.refusals.values()}
    for reason in given - {None}:
        fitting = [code for text, code in found if re.fullmatch(pattern_of(text), str(reason))]
        assert reason.code in fitting, reason


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_it_names_exists(page: Path) -> None:
    commands = [importlib.import_module(f"sepfactor.cli.{name}").command for name in COMMANDS]
    known = {flag for c in commands for p in c.params for flag in (*p.opts, *p.secondary_opts)}
    foreign = {
        "--no-deps",
        "--quiet",
        "--version",
        "--help",
        "--strict",
        "--minutes",
        "--hypothesis-profile",
        "--no-…",
    }
    text = re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text)) - {"--no-"}
    assert named <= known | foreign


def test_every_scheme_is_in_the_table() -> None:
    text = (DOCS / "when.md").read_text(encoding="utf-8")
    table = text[text.index("| `--scheme` |") :].split("\n\n")[0].splitlines()[2:]
    named = {name for row in table for name in re.findall(r"`([a-z0-9-]+)`", row.split("|")[1])}
    assert set(SCHEME_NAMES) <= named
    select_schemes(sorted(named))  # raises where one is unknown


def test_everything_public_is_in_the_manual() -> None:
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    for name in set(sepfactor.__all__) - {"__version__"}:
        assert re.search(rf"\b{name}\b", text), name


def test_columns_and_lines_of_the_report_are_called_so() -> None:
    text = (DOCS / "report.md").read_text(encoding="utf-8")
    text = text[text.index("## The tables") : text.index("## Is a drop")]
    console = Console(width=400, file=io.StringIO(), record=True)
    budget = Budget(verdict=BudgetVerdict("kept", True, "kept"))
    console.print(report_view(rich_report(budget=budget, tuning=Tuning())))
    shown = set(re.findall(r"\w+", console.export_text()))
    for names in re.findall(r"^- \*\*(.*?)\*\*", text, re.MULTILINE):
        assert set(re.findall(r"\w+", names)) <= shown, names


def test_links_of_the_readme_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_every_command_is_in_the_manual() -> None:
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in COMMANDS)
