"""What files are called is shown, and never obeyed: by no terminal, in no pull request."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import sepfactor
from sepfactor.cli import main
from sepfactor.report.grid import Column, Grid
from sepfactor.report.markup import markdown
from sepfactor.report.view import Facts, Notes, View
from sepfactor.visible import visible, visible_json
from tests import networks
from tests.timing import decide_times

HOSTILE = "\x1b[2J\x1b]0;pwned\x07\x9b31m\u202egpj\u2066\u200b\x00\r\nforged │ row"
"""Clears the screen, sets the title, colours, turns the direction, hides a letter, begins a line."""

_texts = st.text(st.characters(codec=None), max_size=40)


def active(text: str) -> list[str]:
    """Characters of a text that do something and are not seen, but for ends of lines."""
    return [c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and c != "\n"]


@given(_texts)
def test_nothing_active_is_left(text: str) -> None:
    assert not active(visible(text))
    assert "\n" not in visible(text)
    assert visible(text, lines=True).count("\n") == text.count("\n")
    visible(text).encode()  # no half of a pair is left either


@given(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=40))
def test_what_is_seen_stays(text: str) -> None:
    assert visible(text) == text


@given(st.recursive(st.text(st.characters(codec="utf-8")), lambda inner: st.lists(inner, max_size=3)))
def test_json_means_the_same(document: object) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=1)
    shown = visible_json(text)
    assert json.loads(shown) == document
    assert not active(shown)


def rendered(view: View) -> Iterator[str]:
    for width in (40, 200):
        console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
        console.print(view)
        yield console.export_text()
        console.file.close()
    yield markdown(view)


@pytest.mark.parametrize("place", ["title", "note", "name", "fact", "cell", "header"])
def test_no_view_obeys(place: str) -> None:
    said = dict.fromkeys(("title", "note", "name", "fact", "cell", "header"), "plain") | {place: HOSTILE}
    table = Grid([Column(said["header"], [said["cell"]]), Column("b", ["c"])])
    view = View(table, Notes([said["note"]]), Facts((said["name"], said["fact"])), title=said["title"])
    for text in rendered(view):
        assert not active(text)


@pytest.mark.parametrize(
    "text",
    ["@everyone", "a@b.org", "#12", "owner/name#3", "GH-7", "https://evil.example", "www.evil.example"],
)
def test_markdown_links_to_nobody(text: str) -> None:
    shown = markdown(View(Facts(("Model", text)), title=text))
    assert text not in shown
    assert text in re.sub("<!-- -->", "", shown)


def test_the_command_line_obeys_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    decide_times(monkeypatch, 2.0)
    name = HOSTILE.replace("\x00", "")
    model = networks.plain()
    model.graph.node[0].name = name
    onnx.save(model, "model.onnx")
    onnx.save(model, f"{name}.onnx")
    np.savez("data.npz", image=networks.images())
    Path("photos").mkdir()
    Path(f"photos/{name}.png").write_text("no picture")
    _, (plan,) = sepfactor.plan("model.onnx", data="data.npz", rank=1)
    document = json.loads(plan.to_json())
    document["layers"][1] |= {"scheme": "keep", "rank": [], "reason": HOSTILE}
    Path("p.json").write_text(json.dumps(document))
    data = ("--data", "data.npz")
    for words in (
        ("inspect", "model.onnx", *data),
        ("inspect", f"{name}.onnx", *data, "--markdown", "--all"),
        ("inspect", "model.onnx", *data, "-q", "--json", "-"),
        ("inspect", "model.onnx", "--data", "photos"),
        ("inspect", f"nowhere{name}", "-v"),
        ("inspect", "model.onnx", name),
        ("inspect", f"--{name}"),
        ("bench", f"{name}.onnx", *data, "--bench-seconds", "0.1"),
        ("compress", "model.onnx", *data, "--rank", "1", "--bench-seconds", "0", "--dry-run", "--all"),
        ("apply", "model.onnx", "p.json", "--bench-seconds", "0", "--all"),
        ("apply", "model.onnx", "p.json", "--bench-seconds", "0", "--markdown", "--overwrite"),
        ("compress", "model.onnx", "-o", f"photos/{name}.png"),
        ("compress", "model.onnx", "--metric", f"{name}:f"),
    ):
        run = CliRunner().invoke(main, list(words))
        assert run.stdout or run.stderr
        assert not active(run.stdout), words
        assert not active(run.stderr), words
        if "-v" not in words:  # a traceback has lines
            assert "\nforged" not in run.stdout + run.stderr, words
