"""What the Tab key offers as values of options that are plain text to click."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import click
from click.shell_completion import CompletionItem

from sepfactor import choices
from sepfactor.errors import SepfactorError

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


def _schemes(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    known = choices.schemes()
    return [CompletionItem(name, help=what) for name, what in known.items() if name.startswith(incomplete)]


def _providers(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    names: Sequence[str] = ()
    with suppress(SepfactorError):  # as of an engine that is not installed
        names = choices.providers(context.params.get("engine") or "onnxruntime")
    return [CompletionItem(name) for name in names if name.startswith(incomplete.lower())]


COMPLETE: Mapping[str, Complete] = {
    **dict.fromkeys(("data", "eval_data", "labels", "targets", "metric", "plan"), _files),
    "scheme": _schemes,
    "provider": _providers,
}
"""Option → what may be typed there. Those of a few words know it by their type."""
