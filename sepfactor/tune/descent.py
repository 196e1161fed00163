"""The descent: Adam on weights, towards the original's answers on calibration samples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from sepfactor.data import Feed
from sepfactor.tune.aims import Aim
from sepfactor.tune.network import TorchNetwork
from sepfactor.tune.operators import Tensor
from sepfactor.tune.samples import Samples, behind


@dataclass(frozen=True)
class TuneSettings:
    """Choices of the descent; the defaults are what won (``benchmarks/results/experiments.md``).

    Attributes:
        rates: first step of a weight, in shares of the root mean square of its tensor; the first is taken
            that wins anything in a tenth of the steps.
        bias: tensors of one axis are taken for as large as this at least.
        batch: runs per step.
        warm_up: share of the steps over which the rate rises to that.
        betas: of Adam.
        shares: of the way from the first weights to the last; the one that does best on samples that choose
            is gone.
        of_outputs: weight of outputs together; that of maps together is 1.
        timed: steps by which it is told how long one takes.
    """

    rates: tuple[float, ...] = (3e-3, 1e-3, 3e-4)
    bias: float = 1e-2
    batch: int = 8
    warm_up: float = 0.03
    betas: tuple[float, float] = (0.9, 0.99)
    shares: tuple[float, ...] = (1.0, 0.7, 0.4, 0.0)
    of_outputs: float = 1.0
    timed: int = 3


TUNE = TuneSettings()
"""What won."""


@dataclass(frozen=True, eq=False)
class Descended:
    """What came of it.

    Attributes:
        weights: by name.
        before: loss on the samples that choose, with the first weights.
        after: the same with ``weights``.
        steps: made, in all.
        rate: that was taken.
        share: of the way to the last weights that was gone.
    """

    weights: Mapping[str, Tensor]
    before: float
    after: float
    steps: int
    rate: float
    share: float


class Descent:
    """Weights of a network on their way towards the original's answers.

    Args:
        network: to tune; its weights are changed.
        aims: values of it.
        samples: that ``fit`` and ``choose`` are of.
        fit: numbers of samples to go by.
        choose: the same of those that say how far to go.
        together: whether several runs may be computed as one.
        seed: of all that is drawn.
        settings: of the method.
    """

    def __init__(
        self,
        network: TorchNetwork,
        aims: Sequence[Aim],
        samples: Samples,
        fit: Sequence[int],
        choose: Sequence[int],
        *,
        together: bool = True,
        seed: int = 0,
        settings: TuneSettings = TUNE,
    ) -> None:
        self._network, self._aims, self._samples = network, aims, samples
        self._names = [aim.own for aim in aims]
        self._fit, self._choose, self._settings = fit, choose, settings
        self._most = settings.batch if together else 1
        self._seed, self._rng = seed, np.random.default_rng(seed)
        self._left: list[int] = []
        self._start = {name: weight.detach().clone() for name, weight in network.weights.items()}
        self._spreads = spreads(samples, choose, len(aims))
        outputs = sum(aim.is_output for aim in aims)
        shares = (settings.of_outputs / max(outputs, 1), 1 / max(len(aims) - outputs, 1))
        self._weights = [shares[0] if aim.is_output else shares[1] for aim in aims]

    def loss(self, feeds: Sequence[Feed]) -> Tensor:
        """How far every aim is from the original's answer, weighed, and summed."""
        fed = {name: _tensor(value) for name, value in behind(feeds).items()}
        found, answers = self._network(fed, self._names), self._samples.answers(feeds)
        total = torch.zeros(())
        parts = zip(self._aims, found, answers, self._spreads, self._weights, strict=True)
        for aim, value, answer, spread, weight in parts:
            total = total + weight * distance(aim, value, _tensor(answer).to(value.dtype), spread)
        return total

    def chosen(self) -> float:
        """The loss on the samples that choose."""
        total = 0.0
        with torch.no_grad():
            for begin in range(0, len(self._choose), self._settings.batch):
                some = self._choose[begin : begin + self._settings.batch]
                parts = self._parts(self._samples.plain(some))
                total += sum(float(self.loss(part)) * len(part) for part in parts)
        return total / len(self._choose)

    def _parts(self, feeds: Sequence[Feed]) -> Iterator[Sequence[Feed]]:
        """What is computed at once."""
        for begin in range(0, len(feeds), self._most):
            some = feeds[begin : begin + self._most]
            alike = len({tuple(value.shape for value in feed.values()) for feed in some}) == 1
            if alike and len(some) > 1:
                yield some
            else:
                yield from ([feed] for feed in some)

    def _back(self, feeds: Sequence[Feed]) -> None:
        """Gradients of the loss."""
        for weight in self._network.weights.values():
            weight.grad = None
        for part in self._parts(feeds):
            (self.loss(part) * (len(part) / len(feeds))).backward()

    def _next(self) -> list[Feed]:
        """The samples of a step: each once before any is taken again."""
        size = min(self._settings.batch, len(self._fit))
        while len(self._left) < size:
            self._left += [self._fit[i] for i in self._rng.permutation(len(self._fit))]
        some, self._left = self._left[:size], self._left[size:]
        return self._samples.varied(some, self._rng)

    def steps_within(self, seconds: float) -> int:
        """How many steps take so long with all that belongs to them, as a few tell; at least one."""
        some, rng = self._fit[: self._settings.batch], np.random.default_rng(self._seed)
        self._back(self._samples.varied(some, rng))  # what is done once
        begin = time.process_time()
        for _ in range(self._settings.timed):
            self._back(self._samples.varied(some, rng))
        each = (time.process_time() - begin) / self._settings.timed
        begin = time.process_time()
        self.chosen()
        judging = (time.process_time() - begin) * len(self._settings.shares) * (len(self._settings.rates) + 1)
        return max(1, int((seconds - judging) / max(each, 1e-6)))

    def run(self, steps: int, watch: Callable[[int], None]) -> Descended:
        """Go so many steps, and back as far as the samples that choose say.

        A tenth of them is spent on each rate, until one wins anything: smaller ones would win more in so few
        steps, and less in all.

        Args:
            steps: how many, in all.
            watch: told how many are done.
        """
        settings = self._settings
        before, tenth = self.chosen(), steps // 10
        rates = settings.rates if tenth else settings.rates[:1]
        begun, rate = 0, rates[0]
        for rate in rates if len(rates) > 1 else ():
            last = self._descend(rate, tenth, _behind(begun, watch))
            begun += tenth
            if min(self._along(last, before).values()) < before:
                break
        last = self._descend(rate, steps - begun, _behind(begun, watch))
        watch(steps)
        losses = self._along(last, before)
        share = min(losses, key=lambda one: losses[one])
        self._go(last, share)
        found = {name: weight.detach() for name, weight in self._network.weights.items()}
        return Descended(found, before, losses[share], steps, rate, share)

    def _descend(self, rate: float, steps: int, watch: Callable[[int], None]) -> dict[str, Tensor]:
        """Where so many steps lead, from the beginning."""
        weights = self._network.weights
        self._rng, self._left = np.random.default_rng(self._seed), []
        self._go(self._start, 0.0)
        groups = [{"params": [w], "lr": rate * self._size(w)} for w in weights.values()]
        adam = torch.optim.Adam(groups, betas=self._settings.betas)
        schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda done: self._slope(done, steps))
        for done in range(steps):
            watch(done)
            self._back(self._next())
            adam.step()
            schedule.step()
        return {name: weight.detach().clone() for name, weight in weights.items()}

    def _size(self, weight: Tensor) -> float:
        size = float(weight.detach().square().mean().sqrt())
        return max(size, self._settings.bias) if weight.ndim < 2 else size

    def _along(self, last: Mapping[str, Tensor], before: float) -> dict[float, float]:
        """Share of the way → loss there on the samples that choose."""
        losses = {}
        for share in self._settings.shares:
            self._go(last, share)
            loss = self.chosen() if share else before
            losses[share] = loss if math.isfinite(loss) else math.inf
        return losses

    def _slope(self, done: int, steps: int) -> float:
        """Up in a line, down in a half wave."""
        rising = (done + 1) / max(self._settings.warm_up * steps, 1.0)
        return min(rising, 1.0) * 0.5 * (1 + math.cos(math.pi * done / steps))

    def _go(self, last: Mapping[str, Tensor], share: float) -> None:
        """Stand at this share of the way."""
        with torch.no_grad():
            for name, weight in self._network.weights.items():
                weight.copy_(torch.lerp(self._start[name], last[name], share))


def _tensor(array: NDArray[Any]) -> Tensor:
    """Maps with channels last, which makes convolutions half as fast again."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _behind(begun: int, watch: Callable[[int], None]) -> Callable[[int], None]:
    """Tells ``watch`` of steps that come after so many."""
    return lambda done: watch(begun + done)


def distance(aim: Aim, value: Tensor, answer: Tensor, spread: float) -> Tensor:
    """Of classes the divergence of their probabilities; else the mean square, in shares of the spread."""
    if not aim.is_classes:
        return torch.mean((value - answer) ** 2) / spread
    own, wanted = (_log_probabilities(aim, one.flatten(1)) for one in (value, answer))
    return F.kl_div(own, wanted, log_target=True, reduction="batchmean")


def _log_probabilities(aim: Aim, value: Tensor) -> Tensor:
    if aim.kind == "probabilities":
        return torch.log(value.clamp(min=1e-9))
    return torch.log_softmax(value, dim=1)


def spreads(samples: Samples, runs: Sequence[int], count: int) -> list[float]:
    """Of each aim, the mean square of what is left when each channel's mean is taken away.

    Args:
        samples: that answers are of.
        runs: numbers of those that are looked at.
        count: of aims.
    """
    sums: list[Any] = [0.0] * count
    for feed in samples.plain(runs):
        for i, value in enumerate(samples.answer(feed)):
            wide = value.astype(np.float64).reshape(*value.shape[:2], -1)
            channels = wide.swapaxes(0, 1).reshape(wide.shape[1] if value.ndim > 1 else 1, -1)
            size = np.full(len(channels), channels.shape[1])
            sums[i] = sums[i] + np.stack([channels.sum(axis=1), np.square(channels).sum(axis=1), size])
    found = []
    for total, squares, size in sums:
        mean_square = squares.sum() / max(size.sum(), 1)
        left = mean_square - np.sum(total**2 / np.maximum(size, 1)) / max(size.sum(), 1)
        found.append(max(float(left if left > 1e-9 * mean_square else mean_square), 1e-12))
    return found
