"""What candidates do to the output, each alone in the network.

Wherever all that a candidate changes is what its layer answers, only what lies behind the layer is run. The
original goes from one layer to the next once, with all images. At a layer what lies behind it is opened once
for all candidates, and a trial is the few nodes of the candidate and a run from there on: no network is
opened anew, and nothing before the layer is computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from sepfactor.fit.propagation import Propagation
from sepfactor.graph.chance import draws_at_random
from sepfactor.graph.instrument import serialized
from sepfactor.graph.lower import lower
from sepfactor.graph.partition import Segment
from sepfactor.graph.survey import Site
from sepfactor.measure.engine import Session
from sepfactor.measure.quality import Judge
from sepfactor.search.candidate import Candidate, Factorized
from sepfactor.study.study import Study

Array = NDArray[Any]


class EachAlone:
    """Tries candidates of one layer after another, in the order of the graph.

    Args:
        study: the run.
        judge: of the outputs, on images of which the first ones are run.
        count: how many of them.
    """

    def __init__(self, study: Study, judge: Judge, count: int) -> None:
        self._study, self._judge, self._count = study, judge, count
        self._original = Propagation(study.prepared, judge.feeds[:count], study.exact, study.resources)
        self._starts_anew = not judge.carries_state and not draws_at_random(study.prepared)

    def divergences(self, candidates: Sequence[Candidate], site: Site) -> list[float]:
        """What each does to the output.

        Args:
            candidates: of one layer.
            site: of that; no earlier one than the time before.

        Raises:
            ModelError: a candidate, or what lies behind, cannot be run.
        """
        onward = [candidate for candidate in candidates if self._changes_its_answer_alone(candidate, site)]
        others = [candidate for candidate in candidates if candidate not in onward]
        found = dict(self._study.executor.map_unordered(lambda one: self._in_whole(one, site), others))
        if onward:
            found |= dict(self._from_here_on(onward, site))
        return [found[candidate] for candidate in candidates]

    def _changes_its_answer_alone(self, candidate: Candidate, site: Site) -> bool:
        """Whether all that it changes is what its layer answers; and each run begins anew."""
        return self._starts_anew and not site.nested and isinstance(candidate, Factorized)

    def _in_whole(self, candidate: Candidate, site: Site) -> float:
        network = serialized(candidate.apply_to(self._study.prepared, site))
        return self._judge(self._study.exact.open(network), self._count).divergence

    def _from_here_on(self, candidates: Sequence[Candidate], site: Site) -> Iterator[tuple[Candidate, float]]:
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
        return partition.between(site.input, site.output, lowered.nodes, lowered.initializers)

    def _open(self, segment: Segment, site: Site) -> Session:
        sample = self._original.sample(name for name in segment.inputs if name != site.output)
        answer = {site.output: np.empty(0, site.dtype)}
        return self._study.exact.open(segment.model({**sample, **answer}))
