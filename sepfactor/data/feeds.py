"""What a model is fed: runs, each made when it is asked for.

A *feed* is one run of the model, ``{input name: array}``. A *row* is one sample along the leading
axis; a model with a fixed batch of 8 takes eight rows a run. Sources (files, images, callables,
synthetic pictures) say how to make run ``i``, and :class:`Feeds` is the sequence made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
from numpy.typing import NDArray

from sepfactor.data.preprocessing import Preprocessing
from sepfactor.errors import DataError

Feed = dict[str, np.ndarray]
Indices = NDArray[np.int64]
Target = Callable[[int], np.ndarray]
"""Number of a run → what its outputs should be."""


@dataclass(frozen=True)
class Frame:
    """What a network sees of a picture; x comes before y.

    Attributes:
        picture: width and height, pixels.
        scale: by which it was resized.
        offset: pixels of the resized picture that were cut off left and above; below 0 of borders put there.
        size: width and height of what is seen, pixels.
    """

    picture: tuple[float, float]
    scale: tuple[float, float]
    offset: tuple[float, float]
    size: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Source:
    """Where runs come from, before labels, targets and limits are applied.

    Attributes:
        make: number of a run → its feed, the same each time.
        rows: ``(runs, batch)``, the samples each run is made of.
        samples: how many samples there are, rows that fill no run included.
        origin: what the user would call it, for descriptions and messages.
        probe: a check of one run, done for all of them at the start; ``None`` if none is needed.
        labels: ``(samples, ...)`` that came with the data.
        target: what came with the data for dense outputs, of one run.
        names: relative path of the file of each sample, for images and sounds.
        frame: number of a sample → what is seen of its picture, for images.
        partial: whether an iterator was left before its end.
        notes: what a user should know of how the data were read, in sentences.
    """

    make: Callable[[int], Feed]
    rows: Indices
    samples: int
    origin: str
    probe: Callable[[int], object] | None = None
    labels: np.ndarray | None = None
    target: Target | None = None
    names: tuple[str, ...] = ()
    frame: Callable[[int], Frame] | None = None
    preprocessing: Preprocessing | None = None
    synthetic: bool = False
    partial: bool = False
    notes: tuple[str, ...] = ()


class Feeds(Sequence[Feed]):
    """Runs of a model, each made when asked for and identical each time.

    Attributes:
        preprocessing: as applied, with ``auto`` resolved; ``None`` where no image was involved.
        synthetic: whether the inputs are made up, so that no accuracy can be claimed from them.
        notes: what a user should know of the data and labels, in sentences.
    """

    def __init__(
        self,
        source: Source,
        labels: np.ndarray | None = None,
        target: Target | None = None,
        boxes: np.ndarray | None = None,
        chosen: Indices | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self._source = source
        self._chosen = np.arange(len(source.rows)) if chosen is None else chosen
        self._all_labels = labels
        self._target = target
        self._all_boxes = boxes
        self.preprocessing = source.preprocessing
        self.synthetic = source.synthetic
        self.notes = notes

    @cached_property
    def labels(self) -> np.ndarray | None:
        """int64 ``(runs, ...)``, or ``(runs, batch, ...)`` where a run takes several samples."""
        return None if self._all_labels is None else self._all_labels[self._chosen]

    @cached_property
    def boxes(self) -> np.ndarray | None:
        """Arrays ``(n, 7)``, ``(runs,)`` or ``(runs, batch)`` of them, see :data:`true_boxes.Box`."""
        return None if self._all_boxes is None else self._all_boxes[self._chosen]

    @cached_property
    def targets(self) -> np.ndarray | list[np.ndarray] | None:
        """What dense outputs should be: floats ``(runs, ...)`` or ``(runs, batch, ...)``, as labels are.

        A list of arrays, one per run, where their shapes differ. Read when first asked for.
        """
        if self._target is None:
            return None
        runs = self._chosen.tolist()
        made = {run: self._floats(run) for run in sorted(runs)}  # files are read in their order
        targets = [made[run] for run in runs]
        return np.stack(targets) if len({target.shape for target in targets}) == 1 else targets

    @property
    def has_targets(self) -> bool:
        """Whether there are :attr:`targets`; reads none."""
        return self._target is not None

    def _floats(self, run: int) -> np.ndarray:
        assert self._target is not None
        target = self._target(run)
        return target.astype(np.result_type(target.dtype, np.float32))

    @property
    def files(self) -> list[str]:
        """Of each run the file that its first image or window of sound is of; nothing of other data."""
        names = self._source.names
        return [names[row] for row in self._source.rows[self._chosen, 0]] if names else []

    @property
    def description(self) -> str:
        """Where they come from and how many there are: ``models/x.npz: 64 of 256 samples``."""
        count, (total, batch) = len(self), self._source.rows.shape
        first = "first " if self._source.partial else ""
        number = f"{first}{total}" if count == total else f"{count} of {'the ' * bool(first)}{first}{total}"
        unit = f"run{'s' * (number != '1')} of {batch} samples" if batch > 1 else "sample"
        plural = "s" * (batch == 1 and number != "1")
        rest = self._source.samples - total * batch
        left = f" ({rest} samples fill no run)" if rest > 0 and count == total else ""
        return f"{self._source.origin}: {number} {unit}{plural}{left}"

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Feed: ...
    @overload
    def __getitem__(self, index: slice) -> Feeds: ...
    def __getitem__(self, index: int | slice) -> Feed | Feeds:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        return self._source.make(int(self._chosen[index]))

    def __iter__(self) -> Iterator[Feed]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"<Feeds {self.description}>"

    def take(self, indices: Iterable[int]) -> Feeds:
        """The runs at these positions, in this order."""
        picked = np.fromiter(indices, np.int64)
        return self._with(self._chosen[picked], self.notes)

    def noting(self, notes: Iterable[str]) -> Feeds:
        """The same with more notes."""
        return self._with(self._chosen, (*self.notes, *notes))

    def _with(self, chosen: Indices, notes: tuple[str, ...]) -> Feeds:
        return Feeds(self._source, self._all_labels, self._target, self._all_boxes, chosen, notes)

    def shuffled(self, seed: int = 0) -> Feeds:
        """The same runs in an order drawn by ``seed``."""
        return self.take(np.random.default_rng(seed).permutation(len(self)))

    def probe(self) -> None:
        """Check every run as far as is cheap.

        Raises:
            DataError: a run cannot be made or does not fit the model, or a target is not finite.
        """
        for run in self._chosen.tolist():
            if self._source.probe is not None:
                self._source.probe(run)
            if self._target is not None and not np.isfinite(self._target(run)).all():
                raise DataError(
                    f"{self._source.origin}, run {run}: the target holds NaN or infinite values: "
                    "clean it, or leave the sample out."
                )
