"""`make deploy-check`: gets the tools that are missing, runs every check of deploy/, and says what could not run."""

import subprocess
import sys

from tests.deploy.tools import ROOT, install


def main() -> int:
    failures = install()
    code = subprocess.call([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", "tests/deploy"], cwd=ROOT)
    for failure in failures:
        print(f"not to be had here: {failure}", file=sys.stderr)
    return code or (1 if failures else 0)


if __name__ == "__main__":
    sys.exit(main())
