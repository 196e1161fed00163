"""Where a network comes from, as a terminal shows it."""

from __future__ import annotations

from pathlib import Path

from sepfactor.report.view import Facts, View
from sepfactor.results import Provenance


def provenance_view(file: Path, made: Provenance) -> View:
    """A fact a line.

    Args:
        file: that says so.
        made: what it says.
    """
    facts = [
        ("Network", str(file)),
        ("Made by", f"sepfactor {made.version}"),
        ("Made of", f"the network of SHA-256 {made.source}"),
        ("Plan", "none, it was rewritten exactly" if made.plan is None else made.plan),
        *((("Asked for", made.budget),) if made.budget else ()),
    ]
    return View(Facts(*facts), title=made.line)
