"""Views of results: tables for terminals, Markdown, HTML; and reading back what ``--json`` wrote.

Importing it lets notebooks show results, which know nothing of views themselves.
"""

from __future__ import annotations

from sepfactor.results import Document


def _as_html(document: Document) -> str:
    from sepfactor.report.markup import notebook  # slow to import, and only notebooks ask for it

    return notebook(document)


Document.as_html = _as_html
