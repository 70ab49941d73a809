"""`make simulation`: many seeds of kills, rebalances, lost answers and bad documents against the real stream.

python -m tests.simulation --seeds 10000 --jobs 2      a table of what was reached; last line one JSON object
python -m tests.simulation --seed 1234                 one seed again, with all that happened
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from tempfile import TemporaryDirectory

import orjson

from tests.simulation.plan import KINDS
from tests.simulation.run import Outcome, collected_rarely, run_seed

SHOWN = 10
CHUNK = 20
SEEDS_A_WORKER = 500
"""Then a fresh worker: what little a seed leaves behind in memory goes with it."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, help="only this one, with a trace")
    options = parser.parse_args()
    if options.seed is not None:
        return _one(options.seed)
    return _many(range(options.first, options.first + options.seeds), options.jobs)


def _one(seed: int) -> int:
    outcome = run_seed(seed, trace=True)
    print("\n".join(outcome.trace))
    for violation in outcome.violations:
        print(f"VIOLATION  {violation}")
    print(
        orjson.dumps(
            {
                "seed": seed,
                "ok": not outcome.violations,
                "documents": outcome.documents,
                "virtual_s": round(outcome.virtual_s, 3),
                "turns": outcome.turns,
                "digest": outcome.digest,
                "reached": dict(sorted(outcome.reached.items())),
            }
        ).decode()
    )
    return 1 if outcome.violations else 0


def _many(seeds: range, jobs: int) -> int:
    started = time.monotonic()
    reached: Counter[str] = Counter()
    seeds_with: Counter[str] = Counter()
    failed: list[int] = []
    cpu_s = documents = virtual_s = 0.0
    for done, outcome in enumerate(_outcomes(seeds, jobs), start=1):
        reached += outcome.reached
        seeds_with.update(outcome.reached.keys())
        cpu_s, documents, virtual_s = (
            cpu_s + outcome.cpu_s,
            documents + outcome.documents,
            virtual_s + outcome.virtual_s,
        )
        if outcome.violations:
            failed.append(outcome.seed)
            if len(failed) <= SHOWN:
                print(f"seed {outcome.seed} failed: {outcome.violations[0][:2000]}", flush=True)
                print(f"    again: python -m tests.simulation --seed {outcome.seed}", flush=True)
        if done % max(1, len(seeds) // 20) == 0:
            seconds = time.monotonic() - started
            print(f"{done} of {len(seeds)} seeds, {seconds:.0f} s, {len(failed)} failed", file=sys.stderr, flush=True)
    unreached = [kind for kind in KINDS if not reached[kind]]
    print("| fault | times | seeds with it |\n|---|---|---|")
    for kind in KINDS:
        print(f"| {kind} | {reached[kind]} | {seeds_with[kind]} |")
    for kind in unreached:
        print(f"never reached: {kind}")
    print(
        orjson.dumps(
            {
                "seeds": len(seeds),
                "failed": sorted(failed),
                "unreached": unreached,
                "seconds": round(time.monotonic() - started, 1),
                "cpu_ms_a_seed": round(cpu_s / len(seeds) * 1000, 1),
                "documents": int(documents),
                "virtual_s": round(virtual_s),
                "reached": {kind: reached[kind] for kind in KINDS},
            }
        ).decode()
    )
    return 1 if failed or unreached else 0


def _outcomes(seeds: range, jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from map(run_seed, seeds)
        return
    context = get_context("forkserver")
    with TemporaryDirectory(prefix="mira-simulation-") as folder:
        os.environ["TMPDIR"] = folder  # workers are ended without a goodbye
        yield from _pooled(context, seeds, jobs)


def _pooled(context: ForkServerContext, seeds: range, jobs: int) -> Iterator[Outcome]:
    with context.Pool(jobs, collected_rarely, maxtasksperchild=SEEDS_A_WORKER // CHUNK) as pool:
        yield from pool.imap_unordered(run_seed, seeds, chunksize=CHUNK)


if __name__ == "__main__":
    sys.exit(main())
