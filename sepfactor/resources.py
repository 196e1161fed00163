"""What work may use of this machine."""

from __future__ import annotations

from dataclasses import dataclass, field

from sepfactor.memory import Pool
from sepfactor.threads import Executor, Threads


@dataclass(frozen=True, eq=False)
class Resources:
    """Memory and cores; by default without a bound, and one.

    Attributes:
        pool: keeps what is wanted again later, within the memory that may be used.
        executor: runs what can be done side by side.
    """

    pool: Pool = field(default_factory=Pool)
    executor: Executor = field(default_factory=Threads)
