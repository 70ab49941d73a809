"""The simulation can fail: with a guard taken out, few seeds are enough."""

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.run import run_seed

pytestmark = pytest.mark.simulation

SEEDS = 500
BUGS_OF_THE_MUTANT = ("TypeError", "AttributeError", "NameError")


@pytest.mark.parametrize("name", MUTANTS)
def test_a_guard_that_is_taken_out_is_missed(name: str) -> None:
    for seed in range(SEEDS):
        said = run_seed(seed, MUTANTS[name].mutation).violations
        if said:
            assert not any(bug in one for one in said for bug in BUGS_OF_THE_MUTANT), said
            return
    pytest.fail(f"{MUTANTS[name].broken}: {SEEDS} seeds have not noticed")
