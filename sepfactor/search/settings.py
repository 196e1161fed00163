"""How plans are searched for."""

from __future__ import annotations

from dataclasses import dataclass

MOST_PLANS = 6
"""Plans on a front, at most."""


@dataclass(frozen=True)
class SearchSettings:
    """Choices of the search; the defaults are what won (``benchmarks/results/experiments.md``).

    Nothing in here is a clock: the same times, data, options and seed give the same plan.

    Attributes:
        ranks_per_scheme: looked at per scheme and layer, at least and at most, evenly spaced in the logarithm
            of their cost.
        ranks_in_all: of each scheme, over all layers: where there are many, each is looked at less closely.
        cost_shares: of the layer's multiply-accumulates, that candidates lie between; less was never worth
            its error, more its time.
        worse: a candidate is dropped if a cheaper one is so many times more accurate, before and after
            fitting. Not at once: multiply-accumulates are not time, and fitting mends some schemes more.
        fine_grid: widths are multiples of it where time does not count.
        averaged_runs: of the network, that averages before and after a layer are compared on.
        rule_tries: candidates timed per layer by a rule, before it is kept.
        candidate_seconds: at most so long is one candidate timed, and not less than the rounds.
        candidate_rounds: of timing, at least.
        candidate_precision: at which timing ends: share of the ratio that its interval is within.
        profiled_runs: times of layers are medians over so many runs at most: what a neighbour on the
            machine does lasts longer than ten.
        built_runs: the same of a plan that was built.
        timed_seconds: at most so long are whole networks timed while plans are made.
        fewest_rounds: of timing, which are enough where a network takes seconds.
        sensitivity_levels: errors each layer is tried at, the strongest it may get among them.
        sensitivity_images: that this is measured on, at most.
        sensitivity_macs: multiply-accumulates that it may take in all; of large networks fewer images are.
        trusts: plans to compare with the one that takes sensitivities as measured (1): by half of them, and
            with all layers alike. What is handed out beats them.
        builds: plans built and judged at most while looking for the one that just keeps a loss.
        build_macs: multiply-accumulates on all images that plans may be built for.
        fewest_builds: plans built at least, if so many are wanted.
        retries: builds more where the time, or the final fit, turned out other than predicted.
        inside: aim so far inside the time allowed: half of what is aimed at the edge falls outside.
        slack: a plan that takes less than this share of the time allowed gives some accuracy away.
        unsure: a timing teaches nothing whose interval reaches further than this factor.
        same_time: plans whose times are within this factor are told apart by what they lose.
        near_tie: plans whose expected loss is within this factor are told apart by time, where only size is
            limited.
        tuned_plans: plans tuned at most where a loss is limited; each is given its share of the seconds.
        tuned_gain: the first of them is expected to lose so many times what the best untuned one is.
        front: plans on a front, evenly spaced in the logarithm of time.
    """

    ranks_per_scheme: tuple[int, int] = (4, 10)
    ranks_in_all: int = 260
    cost_shares: tuple[float, float] = (0.06, 0.85)
    worse: tuple[float, float] = (2.5, 1.25)
    fine_grid: int = 4
    averaged_runs: int = 12
    rule_tries: int = 4
    candidate_seconds: float = 0.25
    candidate_rounds: int = 9
    candidate_precision: float = 0.02
    profiled_runs: int = 30
    built_runs: int = 10
    timed_seconds: float = 2.5
    fewest_rounds: int = 3
    sensitivity_levels: int = 3
    sensitivity_images: int = 32
    sensitivity_macs: float = 2.5e12
    trusts: tuple[float, ...] = (0.5, 0.0)
    builds: int = 4
    build_macs: float = 1.2e12
    fewest_builds: int = 3
    retries: int = 4
    inside: float = 0.985
    slack: float = 0.955
    unsure: float = 1.2
    same_time: float = 1.01
    near_tie: float = 1.1
    tuned_plans: int = 3
    tuned_gain: float = 2.5
    front: int = MOST_PLANS


DEFAULT = SearchSettings()
"""What won."""
