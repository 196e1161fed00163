"""How much the output suffers from an error in each layer, measured on unlabelled images."""

from __future__ import annotations

import time
from collections.abc import Mapping

import onnx_ir as ir

from sepfactor.factor.stage import Ints
from sepfactor.graph.averages import move_averages
from sepfactor.graph.instrument import serialized
from sepfactor.graph.rebuild import Replacement, rebuild
from sepfactor.measure.quality import Judge
from sepfactor.measure.session import open_session
from sepfactor.plans.losses import LossCurve
from sepfactor.search.space import Losses, Menu, Row
from sepfactor.search.subject import Candidate
from sepfactor.study.study import Job

_LEVELS = 3
"""Errors each layer is tried at, the strongest it may get among them."""

_IMAGES = (1, 32)
"""At least and at most so many runs per level."""

_SECONDS = 60.0
"""All of it should take no longer; large networks are tried on fewer images."""


def measure_sensitivity(job: Job, menu: Menu, judge: Judge) -> Mapping[str, Losses]:
    """What every site of the menu loses, by the name of its output.

    Each is replaced alone, by candidates of several error levels, and the divergence of the output
    from the original's is read off.

    Args:
        job: the run.
        menu: what may be chosen.
        judge: on images to be used for this.
    """
    trials = [(row, level) for row in menu.rows for level in _levels(row)]
    points: dict[str, list[tuple[float, float]]] = {row.site.output: [] for row in menu.rows}
    averaged: dict[str, dict[Ints, float]] = {row.site.output: {} for row in menu.rows}
    count = min(_IMAGES[1], len(judge.feeds))
    for number, (row, level) in enumerate(trials):
        job.progress("sensitivity", number, len(trials), row.site.name)
        candidate = row.candidates[level]
        session = open_session(serialized(_alone(job, row, candidate)), job.runtime)
        begun = time.perf_counter()
        divergence = judge(session, count).divergence
        if number == 0:
            one = (time.perf_counter() - begun) / count
            count = int(min(count, max(_IMAGES[0], _SECONDS / (len(trials) * max(one, 1e-6)))))
        if candidate.block is None:
            points[row.site.output].append((candidate.weighted_error, divergence))
        else:
            averaged[row.site.output][candidate.block] = divergence
    job.progress("sensitivity", len(trials), len(trials), "")
    return {name: Losses(LossCurve.through(found), averaged[name]) for name, found in points.items()}


def _alone(job: Job, row: Row, candidate: Candidate) -> ir.Model:
    """The network with one layer replaced."""
    if candidate.block is None:
        return rebuild(job.prepared, [Replacement(row.site, candidate.factorization, {})]).model
    return move_averages(job.prepared, {row.site.output: candidate.block}).model


def _levels(row: Row) -> list[int]:
    """Candidates to try: of the least error, of the largest, and between them; all that average."""
    factored = [i for i, candidate in enumerate(row.candidates) if candidate.block is None]
    by_error = sorted(factored, key=lambda i: row.candidates[i].weighted_error)
    last = len(by_error) - 1
    spread = {round(k * last / (_LEVELS - 1)) for k in range(_LEVELS)} if by_error else set()
    averaged = [i for i, candidate in enumerate(row.candidates) if candidate.block is not None]
    return [*(by_error[i] for i in sorted(spread)), *averaged]
