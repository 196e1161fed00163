"""Processes that have imported the command line already: most of what a short run takes is that.

A server, which has no threads, forks a child for each run. It is asked and answers in lines of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SERVER = """
import contextlib, importlib, json, os, pathlib, resource, signal, sys, threading, time
import onnxruntime
import sepfactor.pipeline, sepfactor.cli.compress
import tests.robustness.way as way
from sepfactor.cli import main
from sepfactor.graph import save

def run(asked, said):
    os.chdir(asked["folder"])
    os.environ.update(asked["environment"])
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(said, 2)
    if asked["largest"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["largest"], asked["largest"]))
    if asked["killed_in"]:
        module, _, function = asked["killed_in"].rpartition(".")
        kill = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
        setattr(importlib.import_module(module), function, kill)
    way.pretend_faster(setattr)
    save.PROTOBUF_LIMIT = asked["limit"] or save.PROTOBUF_LIMIT
    begun = time.monotonic()
    if asked["signal"]:
        timer = threading.Timer(asked["after"], os.kill, (os.getpid(), asked["signal"]))
        timer.daemon = True
        timer.start()
    try:
        main(asked["arguments"], prog_name="sepfactor")
    finally:
        with contextlib.suppress(OSError):
            pathlib.Path(asked["seconds"]).write_text(str(time.monotonic() - begun))

said_by = {}
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "wait" in asked:
        child = asked["wait"]
        with open(said_by.pop(child), encoding="utf-8") as pipe:
            said = pipe.read()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([code, said]), flush=True)
        continue
    reads, writes = os.pipe()
    child = os.fork()
    if child:
        os.close(writes)
        said_by[child] = reads
        print(child, flush=True)
        continue
    os.close(reads)
    code = 1
    signal.alarm(120)
    try:
        run(asked, writes)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
"""
"""Every candidate is taken for faster."""


class Forks:
    """Starts ``sepfactor`` in children of a server.

    Args:
        root: the repository.
    """

    def __init__(self, root: Path) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"

    def ask(self, asked: Mapping[str, Any]) -> Any:
        """What the server answers."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(asked), file=self._server.stdin, flush=True)
        return json.loads(self._server.stdout.readline())

    def start(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        send: int = 0,
        after: float = 0,
        limit: int | None = None,
        largest: int | None = None,
        killed_in: str = "",
    ) -> Forked:
        """Start one run.

        Args:
            arguments: of the command.
            folder: to run in; ``tmp`` in it is for temporary files.
            send: a signal to send to itself. after: seconds until then.
            limit: bytes up to which tensors are kept in the model, so that even small ones keep them beside
                it; None for the usual.
            largest: bytes that a file may have; None for any.
            killed_in: a function of a module that kills it where it is called.
        """
        asked = {
            "arguments": [*arguments],
            "folder": str(folder),
            "environment": {**os.environ, "TMPDIR": str(folder / "tmp")},
            "signal": int(send),
            "after": after,
            "limit": limit,
            "largest": largest,
            "killed_in": killed_in,
            "seconds": str(folder / "tmp" / "seconds"),
        }
        return Forked(self, self.ask(asked))

    def close(self) -> None:
        """End the server."""
        self._server.send_signal(signal.SIGKILL)
        self._server.communicate()


class Forked:
    """One run that was started."""

    def __init__(self, forks: Forks, process: int) -> None:
        self._forks, self._process = forks, process

    def finished(self) -> tuple[int, str]:
        """Its exit code, and what it said on stderr."""
        code, said = self._forks.ask({"wait": self._process})
        return code, said
