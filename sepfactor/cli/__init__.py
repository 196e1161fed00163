"""The command line: parse, call the API, render. Commands are imported when they are called."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from contextlib import suppress
from typing import Any, NoReturn

import click

from sepfactor import __version__
from sepfactor.errors import SepfactorError
from sepfactor.visible import visible

VERBOSE = "sepfactor.verbose"
"""Where the context, which a command shares with this group, remembers ``-v``."""

MARKDOWN = "sepfactor.markdown"
"""Likewise ``--markdown``."""

EVERY_LAYER = "sepfactor.all"
"""Likewise ``--all``."""

COMMANDS = {
    "compress": "Replace convolutions by factorisations, and measure what that did.",
    "plan": "Choose what becomes of every convolution, and write it to a file.",
    "apply": "Build what a plan says; the same bytes each time.",
    "profile": "Measure this machine's layer times into a file, to plan for it elsewhere.",
    "tidy": "Rewrite exactly: the same answers in less time, without data.",
    "inspect": "Where the time goes, and how separable each layer is.",
    "bench": "Interleaved timing of models, with intervals and a verdict in words.",
    "compare": "How far two models differ on data: outputs, agreement, accuracy.",
    "report": "A saved report as a page to look at, a table, or Markdown.",
}
"""Name → what it is for."""


class _Lazy(click.Group):
    """A group whose commands live in modules of their names, and whose errors are one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"sepfactor.cli.{cmd_name}"), "command")  # noqa: B009
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        near = difflib.get_close_matches(args[0], COMMANDS, 1)
        if near and args[0] not in COMMANDS:
            ctx.fail(f"There is no command {args[0]!r}. Did you mean {near[0]}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, *args: Any, **settings: Any) -> Any:
        try:
            return super().main(*args, **settings)
        except BrokenPipeError:
            raise
        except OSError as error:  # of help and the like, which no command writes
            _cannot_write(error)
        finally:
            _flush()

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SepfactorError as error:
            _fail(ctx, error, str(error), error.exit_code)
        except KeyboardInterrupt as error:
            why = f" {error}." if str(error) else ""
            _fail(ctx, error, f"Interrupted.{why} No file was left half-written.", 130)
        except click.UsageError as error:
            whose = _whose(error.option_name) if isinstance(error, click.NoSuchOption) else ""
            message = error.message + whose if whose else error.format_message()
            raise click.UsageError(visible(message), ctx=error.ctx) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except OSError as error:  # commands say what file it was; left is where they write to
            _fail(ctx, error, _UNWRITTEN.format(error.strerror or error), 1)
        except Exception as error:  # noqa: BLE001 -- the last line of defence: a sentence, not a traceback
            what = (str(error).strip().splitlines() or ["it does not say why"])[0].rstrip(".")
            _fail(
                ctx,
                error,
                f"sepfactor failed unexpectedly: {type(error).__name__}: {what}. Please report it, with the "
                "traceback that -v shows.",
                1,
            )


_UNWRITTEN = "What was found cannot be written out: {}. Make room, or let it go elsewhere."


def _cannot_write(error: OSError) -> NoReturn:
    with suppress(OSError):
        sys.stderr.write(f"Error: {_UNWRITTEN.format(error.strerror or error)}\n")
    _flush()
    sys.exit(1)


def _flush() -> None:
    """Write out what is left; what cannot be, Python would complain of once more at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _whose(flag: str) -> str:
    """The commands that have a flag which another does not."""
    from sepfactor.uses import users_of

    users = users_of(flag.removeprefix("--").removeprefix("no-").replace("-", "_"))
    return f" It is one of {', '.join(users)}." if users else ""


def _fail(ctx: click.Context, error: BaseException, message: str, code: int) -> None:
    if ctx.meta.get(VERBOSE):
        click.echo(visible("".join(traceback.format_exception(error)), lines=True), err=True)
    click.echo(visible(f"Error: {message}"), err=True)
    raise click.exceptions.Exit(code)


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version", prog_name="sepfactor")
def main() -> None:
    """Make ONNX networks faster on CPUs by separable factorisation of their convolutions.

    \b
    sepfactor inspect model.onnx
    sepfactor compress model.onnx --data images.npz -o faster.onnx
    """
