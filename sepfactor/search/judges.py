"""Who judges what a search builds: on samples that choose, and on others that have the last word."""

from __future__ import annotations

from sepfactor.budgets import Budget
from sepfactor.data.feeds import Feeds
from sepfactor.measure.engine import Feed, Session
from sepfactor.measure.quality import Judge
from sepfactor.results import JudgedOn
from sepfactor.search.points import LastWord
from sepfactor.study.study import Study
from sepfactor.user_code import Metric


def judge_of(
    original: Session,
    data: Feeds,
    study: Study,
    budget: Budget,
    metric: Metric | None,
    judged_on: JudgedOn,
    like: Judge | None = None,
    units: int | None = None,
) -> Judge:
    """A judge of the outputs as the budget asks for."""
    return Judge(
        original,
        data,
        data.labels,
        data.boxes,
        dense=budget.dense,
        by_class=budget.by_class,
        task=study.options.task,
        metric=metric,
        estimate=budget.estimates,
        judged_on=judged_on,
        like=like,
        units=units,
        pool=study.pool,
    )


def last_word_of(study: Study, budget: Budget, judge: Judge, metric: Metric | None) -> LastWord | None:
    """The judge on data that decided nothing, which say whether the budget is kept; None without any."""
    splits = study.splits
    if not splits.decided_nothing:
        return None
    known: JudgedOn = "held-out" if study.options.eval_data is None else "eval-data"
    original = study.exact.open(study.loaded.runnable)
    last = judge_of(
        original, splits.judged_on, study, budget, metric, known, like=judge, units=splits.judged_units
    )
    last.learn(splits.fit, splits.fit.labels, changes=False)
    return LastWord(last, budget.quality_limit(last.kinds, last.original_score))


def try_metric(metric: Metric, original: Session, feed: Feed) -> None:
    """Ask a user's metric about the original, on one run: what is wrong with it shows before the search.

    Raises:
        UserCodeError: it fails, or gives no number.
    """
    names = (output.name for output in original.get_outputs())
    metric(dict(zip(names, original.run(feed), strict=True)), feed)
