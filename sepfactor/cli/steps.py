"""What steps of the work are called where people read of them."""

from __future__ import annotations

WORDS = {
    "prepare": "reading network and data",
    "rewrite": "rewriting exactly",
    "observe": "watching what layers see",
    "profile": "timing layer by layer",
    "time": "timing",
    "propose": "factoring each layer",
    "factor": "factoring each layer",
    "decompose": "how separable layers are",
    "sensitivity": "what each layer's errors do",
    "plan": "building plans",
    "fit": "fitting layers",
    "tune": "tuning weights",
    "stop": "stopping",
    "compare": "comparing outputs",
    "warm up": "warming up",
}
"""Step → words for it; a step that is not here is called as it is."""

_HOLD_OTHERS = frozenset({"plan", "rewrite", "stop"})


def in_words(step: str) -> str:
    """What people call a step."""
    return WORDS.get(step, step)


def is_over(step: str, begun: str) -> bool:
    """Whether a step must be over once another has begun, whether or not it said so."""
    return step != begun and (begun == "stop" or step not in _HOLD_OTHERS)
