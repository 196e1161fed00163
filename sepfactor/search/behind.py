"""What candidates do to the output, by running only what lies behind their layer.

The original is run once, from one layer to the next, on all images. At a layer what lies behind it is opened
once for all its candidates, and each trial is the few nodes of the candidate and a run from there on: no
network is opened anew, and nothing before the layer is computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.fit.propagation import Propagation
from sepfactor.graph.chance import draws_at_random
from sepfactor.graph.lower import lower
from sepfactor.graph.partition import Segment
from sepfactor.graph.survey import Site
from sepfactor.measure.engine import Session
from sepfactor.measure.quality import Judge
from sepfactor.search.candidate import Candidate, Factorized
from sepfactor.study.study import Study

Array = NDArray[Any]


class Behind:
    """The place behind one layer after another, in the order of the graph.

    Args:
        study: the run.
        judge: of the outputs, on images of which the first ones are run.
        count: how many of them.
    """

    def __init__(self, study: Study, judge: Judge, count: int) -> None:
        self._study, self._judge = study, judge
        self._original = Propagation(study.prepared, judge.feeds[:count], study.exact, study.pool)
        self._runs_alone = not judge.carries_state and not draws_at_random(study.prepared)

    def serves(self, candidate: Candidate, site: Site) -> bool:
        """Whether all that a candidate changes is what its layer answers, and each run begins anew."""
        return self._runs_alone and not site.nested and isinstance(candidate, Factorized)

    def divergences(self, candidates: Sequence[Candidate], site: Site) -> Iterator[tuple[Candidate, float]]:
        """What each does to the output, as they are done.

        Args:
            candidates: that this :meth:`serves`.
            site: of their layer; no earlier one than the time before.

        Raises:
            ModelError: one of them, or what lies behind, cannot be run.
        """
        self._original.advance_for_input(site)
        partition = self._original.partition
        rest = partition.rest(partition.position(site.output) + 1)
        behind = self._open(rest, site) if rest.outputs else None
        reads = [name for name in rest.inputs if name != site.output]
        answered = [site.output] if partition.is_result(site.output) else []

        def diverges(candidate: Candidate) -> float:
            own = self._open(self._own(candidate, site), site)

            def run(image: int) -> list[Array]:
                values = {name: self._original.value(image, name) for name in reads}
                (values[site.output],) = own.run({site.input: self._original.value(image, site.input)})
                outputs = behind.run({name: values[name] for name in rest.inputs}) if behind else []
                return [*outputs, *(values[name] for name in answered)]

            runs = map(run, range(len(self._original)))
            return self._judge.of_runs([*rest.outputs, *answered], runs).divergence

        return self._study.executor.map_unordered(diverges, candidates)

    def _own(self, candidate: Candidate, site: Site) -> Segment:
        """The nodes of a candidate, between what its layer reads and answers."""
        assert isinstance(candidate, Factorized)
        partition = self._original.partition
        lowered = lower(
            candidate.factorization,
            ir.val(site.input),
            ir.val(site.output),
            kind=site.kind,
            prefix=f"{site.output}/tried",
            dtype=site.dtype,
            opset=partition.opset,
        )
        return partition.stand_in(lowered.nodes, lowered.initializers, site.input, site.output)

    def _open(self, segment: Segment, site: Site) -> Session:
        sample = self._original.sample(name for name in segment.inputs if name != site.output)
        answer = {site.output: np.empty(0, site.dtype)}
        return self._study.exact.open(segment.model({**sample, **answer}))
