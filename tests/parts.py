"""Runs the tests in parts, each a pytest of its own, and says what each took: `python -m tests.parts [PYTEST_ARGS]`.

What needs no Kafka and no engine runs on all cores; the rest runs alone, because it has timeouts of real services.
"""

import subprocess
import sys
import time
from typing import Final

PARTS: Final = {
    "fast": ("not broker and not engine and not demo", ("-n", "auto", "--dist", "worksteal")),
    "broker": ("broker and not engine and not demo", ()),
    "engine": ("engine and not demo", ()),
    "demo": ("demo", ()),
}
NO_TESTS: Final = 5
"""pytest's exit code for a part that has none, for example when the arguments name one file."""


def main(arguments: list[str]) -> int:
    """All parts, also after one that failed. Exit code 1 if any failed, or if there was no test at all."""
    lines: list[str] = []
    codes: list[int] = []
    for name, (marked, own) in PARTS.items():
        started = time.monotonic()
        code = subprocess.call([sys.executable, "-m", "pytest", "-m", marked, *own, *arguments])
        codes.append(code)
        state = {0: "passed", NO_TESTS: "no tests"}.get(code, f"failed ({code})")
        lines.append(f"{name:8} {time.monotonic() - started:7.0f} s  {state}")
    print("\n".join(["", "part        time", *lines]))
    return 0 if any(code == 0 for code in codes) and all(code in (0, NO_TESTS) for code in codes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
