"""Ctrl-C in a search."""

from __future__ import annotations

import signal

import pytest

from sepfactor.cli.stopping import best_on_interrupt
from sepfactor.progress import TakeBest


def test_the_first_asks_for_the_best_and_the_next_is_as_usual() -> None:
    usual = signal.getsignal(signal.SIGINT)
    with best_on_interrupt():
        with pytest.raises(TakeBest):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt) as caught:
            signal.raise_signal(signal.SIGINT)
        assert not isinstance(caught.value, TakeBest)
    assert signal.getsignal(signal.SIGINT) is usual


def test_where_it_is_ignored_it_stays_so() -> None:
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with best_on_interrupt():
            signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, usual)
