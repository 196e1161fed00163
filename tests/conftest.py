"""What all tests share. Those marked ``shared`` are skipped where there is no such folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, and few; explore with --hypothesis-profile=explore.
settings.register_profile("quick", max_examples=10, deadline=None, derandomize=True, database=None)
settings.register_profile("explore", max_examples=300, deadline=None)

# Before numpy is imported: where cores are busy, BLAS threads waiting for each other take most of the time.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# Times remembered on disk are a user's; a test neither reads nor adds any.
os.environ["SEPFACTOR_CACHE"] = tempfile.mkdtemp(prefix="sepfactor-tests-")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--hypothesis-profile", None):
        settings.load_profile("quick")


_MOST_WORKERS = 4
"""Each may hold a network of hundreds of megabytes."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Processes for ``-n auto``: one a core for all tests; some tests are done sooner in one process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return min(cores, _MOST_WORKERS) if whole and cores > 1 else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if (SHARED / "models").is_dir():
        return
    for item in items:
        if item.get_closest_marker("shared"):
            item.add_marker(pytest.mark.skip(reason=f"there is no {SHARED}"))


@pytest.fixture(scope="session", autouse=True)
def _a_core_each(request: pytest.FixtureRequest) -> None:
    """Where several processes run tests, each works on one core: threads of two would wait for each other."""
    if hasattr(request.config, "workerinput"):
        from sepfactor import threads

        threads._AT_ONCE = 1


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Larger networks and images, for tests marked ``shared``."""
    return SHARED


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT
