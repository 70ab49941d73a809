"""`make faults`: every fault on a real Kafka with real service processes; prints a table and one JSON object.

python -m tests.faults            SEEDS=2 FAULTS="F01 F08" in the environment select
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from tests.faults.table import CASES, run_all, summary, table


def main() -> int:
    seeds = int(os.environ.get("SEEDS") or 2)
    faults = os.environ.get("FAULTS", "").split() or sorted(CASES)
    if unknown := [fault for fault in faults if fault not in CASES]:
        print(f"no such fault: {' '.join(unknown)}; there are {' '.join(sorted(CASES))}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="mira-faults-") as folder:
        outcomes = asyncio.run(run_all(faults, range(seeds), Path(folder), print))
    print(table(outcomes))
    print(summary(outcomes))
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
