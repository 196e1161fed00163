"""Whether speeds are what they are said to be: the same two networks timed again and again, busy or not.

    python benchmarks/claims.py [--network NAME …] [--times N] [--loops N …] [--output F]

Each network is compressed once, with no option but its calibration data. Then the result is timed against the
original as often as asked for, each time in a process of its own, on other inputs, and with another number of
endless loops beside it. Every time makes a claim: a ratio and its interval. What is true is the ratio of
medians over several processes without loops, on all inputs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tables import RESULTS, Table, document
from traces import busy
from zoo import NETWORKS, feeds, file_of

import sepfactor
from sepfactor.measure import OnnxRuntime
from sepfactor.results import Bench, Ratio

_TRUTHS = 9
"""So many processes say what is true."""

NOTES = (
    "Networks as the default command writes them, one thread. *True* is over all evaluation inputs, the "
    f"median of {_TRUTHS} processes with nothing beside them. A claim *covers* it if its 95 % interval does; "
    "*beyond* is the farthest that a claim's interval was away from it. *Width* is the median width of the "
    "intervals.",
)


@dataclass(frozen=True)
class Pair:
    """Two networks, and a file of inputs to time them on."""

    original: Path
    result: Path
    data: Path

    def timed(self, seed: int, limit: int | None = None) -> Ratio:
        """In a process of its own, on so many inputs drawn by ``seed``."""
        command = [sys.executable, "-m", "sepfactor", "bench", str(self.original), str(self.result)]
        command += ["--data", str(self.data), "--seed", str(seed), "--json", "-"]
        command += [] if limit is None else ["--limit", str(limit)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = Bench.model_validate(json.loads(done.stdout)).rows[1].speedup
        assert found is not None
        return found


def compressed(network: str, folder: Path) -> Pair | None:
    """What the default command makes of it; None where it makes nothing."""
    file, target = file_of(network), folder / "result.onnx"
    sepfactor.compress(file, target, data=feeds(network, "cal"), bench_seconds=2.0)
    np.savez(folder / "eval.npz", **feeds(network, "eval"))
    return Pair(file, target, folder / "eval.npz") if target.exists() else None


def row(network: str, times: int, loops: Sequence[int], limit: int) -> tuple[str, ...]:
    """What came of all claims about one network."""
    with tempfile.TemporaryDirectory() as folder:
        pair = compressed(network, Path(folder))
        if pair is None:
            return (network, *("–",) * (len(COLUMNS) - 1))
        truth = statistics.median(pair.timed(seed).ratio for seed in range(_TRUTHS))
        claims = []
        for number in range(times):
            with busy(loops[number % len(loops)]):
                claims.append(pair.timed(100 + number, limit))
            print(network, f"{truth:.3f}", claims[-1].verdict.text, file=sys.stderr, flush=True)
    covered = sum(one.low <= truth <= one.high for one in claims)
    beyond = max(max(one.low / truth, truth / one.high) - 1.0 for one in claims)
    width = statistics.median((one.high - one.low) / one.ratio for one in claims)
    said = [one.ratio for one in claims]
    return (
        *(network, f"{truth:.2f}×", f"{min(said):.2f}–{max(said):.2f}×", f"{covered} of {times}"),
        *(f"{100 * max(beyond, 0.0):.1f} %", f"{100 * width:.1f} %"),
    )


COLUMNS = ("network", "true", "claimed", "cover it", "beyond", "width")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--network", action="append", choices=NETWORKS, help="only this one; may be repeated")
    parser.add_argument("--times", type=int, default=40, help="claims about each")
    parser.add_argument(
        "--loops", type=int, nargs="+", default=[0, 2, 4, 8], help="beside each claim, in turns"
    )
    parser.add_argument("--limit", type=int, default=16, help="inputs of each claim")
    parser.add_argument(
        "--output", type=Path, default=RESULTS / "claims.md", help="write Markdown to this file"
    )
    asked = parser.parse_args()
    rows = [row(name, asked.times, asked.loops, asked.limit) for name in asked.network or NETWORKS]
    beside = ", ".join(map(str, asked.loops))
    table = Table(f"{asked.times} claims each, beside {beside} loops", COLUMNS, tuple(rows))
    asked.output.write_text(
        document("Claims of speed", OnnxRuntime(threads=1), [table], NOTES), encoding="utf-8"
    )
    table.show()


if __name__ == "__main__":
    main()
