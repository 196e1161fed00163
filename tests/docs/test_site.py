"""The manual as a site: it builds without complaint, and needs no network to be read."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("material") is None, reason="mkdocs-material is not installed"
)

_FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video)\b[^>]*\bsrc=["']?(?:https?:)?//"""
    r"""|<link\b[^>]*\brel=["']?(?:stylesheet|preload|preconnect|icon)[^>]*\bhref=["']?(?:https?:)?//"""
    r"""|url\(["']?(?:https?:)?//|@import\s+["'](?:https?:)?//""",
    re.IGNORECASE,
)


def test_it_builds_and_fetches_nothing(tmp_path: Path) -> None:
    site = tmp_path / "site"
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    files = [f for f in site.rglob("*") if f.suffix in {".html", ".css"}]
    assert site / "recipes.html" in files
    assert not [f for f in site.rglob("*") if f.suffix in {".py", ".pyc"}]
    for file in files:
        found = _FETCHED.search(file.read_text(encoding="utf-8"))
        assert found is None, f"{file.name} fetches {found[0]}"


def test_what_would_be_fetched_is_seen() -> None:
    for text in (
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="//cdn.example/x.css">',
        "@font-face { src: url(https://fonts.example/x.woff2) }",
    ):
        assert _FETCHED.search(text)
    assert not _FETCHED.search(
        '<a href="https://example.org">x</a> <link rel="canonical" href="https://a.b/">'
    )
