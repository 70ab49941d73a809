"""200 seeds of the simulation, and that a seed is the same run each time. `make simulation` runs 10,000."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation.plan import KINDS
from tests.simulation.run import run_seed

pytestmark = pytest.mark.simulation

SEEDS = 200


def test_every_seed_ends_well_and_every_fault_was_reached() -> None:
    reached: Counter[str] = Counter()
    for seed in range(SEEDS):
        outcome = run_seed(seed)
        assert outcome.violations == [], f"python -m tests.simulation --seed {seed}"
        reached += outcome.reached
    assert [kind for kind in KINDS if not reached[kind]] == []


def test_a_seed_is_the_same_run_in_another_process_with_other_hashes() -> None:
    seeds = (3, 12, 27)
    program = f"from tests.simulation.run import run_seed\nprint(*(run_seed(seed).digest for seed in {seeds}))"
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    there = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert there.stdout.split() == [run_seed(seed).digest for seed in seeds]
    assert len(set(there.stdout.split())) == len(seeds)


def test_the_trace_tells_what_happened_and_changes_nothing() -> None:
    told = run_seed(4, trace=True)
    assert told.digest == run_seed(4).digest
    assert any("starts" in line for line in told.trace)
    assert any("commits" in line for line in told.trace)
