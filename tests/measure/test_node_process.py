"""A process that answers requests: what if it fails, ends, or takes too long. Python plays its part."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import pytest

from sepfactor.measure.node_process import NodeFailure, NodeProcess, NodeTooLong

PLAYED = """
import json, sys, time
read, write = sys.stdin.buffer.read, sys.stdout.buffer.write

def answer(head, buffers=()):
    text = json.dumps({**head, "sizes": [len(one) for one in buffers]}).encode()
    write(len(text).to_bytes(4, "little") + text + b"".join(buffers))
    sys.stdout.flush()

while length := read(4):
    request = json.loads(read(int.from_bytes(length, "little")))
    buffers = [read(size) for size in request["sizes"]]
    what = request["do"]
    if what == "echo":
        answer({"said": request}, buffers)
    elif what == "fail":
        answer({"error": "no such thing", "fatal": request["fatal"]})
    elif what == "sleep":
        time.sleep(600)
    elif what == "break":
        write(b"\\x10\\x00\\x00\\x00{")
        sys.exit("RangeError: out of memory")
"""


@pytest.fixture
def process() -> Iterator[NodeProcess]:
    made = NodeProcess([sys.executable, "-c", PLAYED])
    yield made
    made.end(at_once=True)


def test_heads_and_bytes_go_there_and_back(process: NodeProcess) -> None:
    large = os.urandom(3_000_000)
    for sent in ([], [b""], [b"a", large, b""]):
        answer = process.ask({"do": "echo", "about": "größe"}, sent)
        assert [bytes(one) for one in answer.buffers] == sent
        assert answer.head["said"]["about"] == "größe"


def test_it_hears_once_of_what_is_forgotten(process: NodeProcess) -> None:
    process.forget("sessions", [3])
    process.forget("feeds", [1, 2])
    heard = [process.ask({"do": "echo"}).head["said"]["drop"] for _ in range(2)]
    assert heard == [{"sessions": [3], "feeds": [1, 2]}, {"sessions": [], "feeds": []}]


def test_a_request_that_fails_leaves_it_running(process: NodeProcess) -> None:
    with pytest.raises(NodeFailure, match="no such thing"):
        process.ask({"do": "fail", "fatal": False})
    assert process.is_running
    assert process.ask({"do": "echo"}).buffers == []


def test_one_that_broke_it_ends_it(process: NodeProcess) -> None:
    with pytest.raises(NodeFailure, match="no such thing"):
        process.ask({"do": "fail", "fatal": True})
    assert not process.is_running


def test_where_it_ends_in_the_middle_the_reason_is_told_then_and_after(process: NodeProcess) -> None:
    for _ in range(2):
        with pytest.raises(NodeFailure, match=r"process has ended.*RangeError: out of memory"):
            process.ask({"do": "break"})
    assert not process.is_running


def test_what_takes_too_long_is_ended(process: NodeProcess) -> None:
    begin = time.perf_counter()
    with pytest.raises(NodeTooLong, match=r"^0\.2$"):
        process.ask({"do": "sleep"}, seconds=0.2)
    assert time.perf_counter() - begin < 60
    assert not process.is_running


def test_an_interrupt_ends_it_for_its_answer_would_be_taken_for_another(
    process: NodeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "_receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        process.ask({"do": "sleep"})
    assert not process.is_running


def test_it_ends_when_told_to_and_ending_twice_does_no_harm(process: NodeProcess) -> None:
    process.end()
    process.end()
    assert not process.is_running
    with pytest.raises(NodeFailure, match="exit code 0"):
        process.ask({"do": "echo"})


def test_what_cannot_be_started_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="nonesuch"):
        NodeProcess(["/nonesuch"])
