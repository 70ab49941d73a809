"""Runs the tests in parts, each a pytest of its own, and says what each took: `python -m tests.parts [PYTEST_ARGS]`.

What needs nothing but Python (apart from that: the simulation's seeds), and what needs a program beside it
(tests/machine.py), runs on all cores; the rest runs alone, because it has timeouts of real services.
`--part NAME` runs one. A part reads only folders that can hold its tests: collecting imports them, and torch with
transformers takes longer to import than most tests take to run. tests/repo/test_tree.py holds each test in its folder.
"""

import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Final, NamedTuple

TESTS: Final = Path(__file__).parent
ALONE: Final = {
    "simulation": "simulation",
    "browser": "tools",
    "tools": "tools",
    "models": "models",
    "engine": "engine",
    "e2e": "broker|demo",
}
"""Folders whose every test has one of these marks; apart from `broker`, no test elsewhere has them."""


class Part(NamedTuple):
    """`marked` chooses the tests, `alone` says which of ALONE can hold them, `others` whether other folders can."""

    marked: str
    alone: tuple[str, ...] = ()
    others: bool = False
    options: tuple[str, ...] = ()

    def folders(self) -> list[str]:
        """Where its tests are, every folder in one of the two classes."""
        found = sorted({path.parent for path in TESTS.rglob("test_*.py")})
        return [str(one) for one in found if (one.name in self.alone if one.name in ALONE else self.others)]


CORES: Final = ("-n", "auto", "--dist", "worksteal")
CORES_AND_ONE: Final = ("-n", str((os.cpu_count() or 1) + 1), "--dist", "worksteal")
"""A fifth of the time of fast tests is waiting."""
ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1"}
"""Where tests share the cores: numpy's threads would wait for one another, at full load, on cores that others have."""
ELSEWHERE: Final = ("simulation", "tools", "models", "broker", "engine", "demo")
PARTS: Final = {
    "fast": Part(" and ".join(f"not {mark}" for mark in ELSEWHERE), others=True, options=CORES_AND_ONE),
    "simulation": Part("simulation", ("simulation",), options=CORES),
    "tools": Part("tools", ("browser", "tools"), options=CORES_AND_ONE),
    "models": Part("models", ("models",), options=CORES),
    "broker": Part("broker and not engine and not demo", ("e2e",), others=True),
    "engine": Part("engine and not demo", ("engine", "e2e")),
    "demo": Part("demo", ("e2e",)),
}
NO_TESTS: Final = 5
"""pytest's exit code for a part that has none, for example when the arguments name one file."""


def main(arguments: list[str]) -> int:
    """All parts, also after one that failed. Exit code 1 if any failed, or if there was no test at all."""
    parser = ArgumentParser(prog="python -m tests.parts", add_help=False, allow_abbrev=False)
    parser.add_argument("--part", choices=PARTS)
    chosen, own = parser.parse_known_args(arguments)
    places_given = any(Path(one.partition("::")[0]).exists() for one in own)
    lines: list[str] = []
    codes: list[int] = []
    for name in [chosen.part] if chosen.part else PARTS:
        part = PARTS[name]
        places = [] if places_given else part.folders()
        environment = {**(ONE_THREAD if part.options else {}), **os.environ}
        command = [sys.executable, "-m", "pytest", "-m", part.marked, *part.options, *places, *own]
        started = time.monotonic()
        code = subprocess.call(command, env=environment)
        codes.append(code)
        state = {0: "passed", NO_TESTS: "no tests"}.get(code, f"failed ({code})")
        lines.append(f"{name:10} {time.monotonic() - started:7.0f} s  {state}")
    print("\n".join(["", "part          time", *lines]))
    return 0 if any(code == 0 for code in codes) and all(code in (0, NO_TESTS) for code in codes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
