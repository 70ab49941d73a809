"""Kafka's jars: which they are (jars.lock), where they are kept, and how they come here.

The list names artifacts, sizes and hashes. Where artifacts are downloaded from is jgo's knowledge, not ours; what
comes is used only if its size and sha256 are those of the list.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

from mira_stream.errors import ConfigError, DependencyError

KAFKA_VERSION: Final = "4.3.1"
LIBS_VARIABLE: Final = "MIRA_KAFKA_LIBS"
ATTEMPTS: Final = 3
STEP_BYTES: Final = 10_000_000
Talk = Callable[[str], None]


class Jar(NamedTuple):
    """One line of jars.lock."""

    artifact: str
    bytes: int
    sha256: str

    @property
    def file_name(self) -> str:
        _, name, version = self.artifact.split(":")
        return f"{name}-{version}.jar"


def silent(line: str) -> None:
    """Says nothing."""


def locked_jars() -> list[Jar]:
    """The jars in class path order."""
    text = files("mira_stream.broker_local").joinpath("jars.lock").read_text()
    rows = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return [Jar(artifact, int(size), sha256) for artifact, size, sha256 in rows]


def class_path(environment: Mapping[str, str] | None = None, talk: Talk = silent) -> list[Path]:
    """All jars, verified, in order; downloads what is missing.

    Raises ConfigError if a folder named by MIRA_KAFKA_LIBS lacks a jar or holds another one, DependencyError if a
    jar cannot be downloaded.
    """
    environment = os.environ if environment is None else environment
    jars = locked_jars()
    folder = environment.get(LIBS_VARIABLE)
    if folder:
        return [_given(Path(folder), jar) for jar in jars]
    cache = cache_dir(environment)
    missing = [jar for jar in jars if not is_valid(cache / jar.file_name, jar)]
    if missing:
        fetch(missing, cache, talk)
    return [cache / jar.file_name for jar in jars]


def cache_dir(environment: Mapping[str, str]) -> Path:
    """Where downloaded jars stay."""
    base = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "mira-stream" / f"kafka-{KAFKA_VERSION}"


def fetch(jars: Iterable[Jar], cache: Path, talk: Talk) -> None:
    """Download jars into `cache`: each into a folder of its own first, moved when it is what the list says."""
    jars = list(jars)
    size = sum(jar.bytes for jar in jars)
    talk(f"fetching Apache Kafka {KAFKA_VERSION}: {len(jars)} files, {size / 1e6:.0f} MB, once")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as folder, ThreadPoolExecutor(6) as pool:
            left = size
            for done in pool.map(lambda jar: _fetch_one(jar, Path(folder), cache), jars):
                if left // STEP_BYTES > (left - done) // STEP_BYTES:
                    talk(f"fetching Apache Kafka {KAFKA_VERSION}: {(left - done) / 1e6:.0f} MB to go")
                left -= done
    except OSError as error:
        raise DependencyError(
            "kafka_not_fetched", f"cannot write {cache}: {error}", "free disk space or set XDG_CACHE_HOME"
        ) from error


def _fetch_one(jar: Jar, folder: Path, cache: Path) -> int:
    problem = ""
    for attempt in range(ATTEMPTS):
        try:
            path = _download(jar, folder / f"{jar.file_name}.{attempt}")
        except Exception as error:  # whatever the download library raises: it is named in our error
            problem = f"{type(error).__name__}: {error}"
            continue
        if is_valid(path, jar):
            os.replace(path, cache / jar.file_name)
            return jar.bytes
        problem = f"{path.stat().st_size} bytes came whose sha256 is not {jar.sha256}"
    raise DependencyError(
        "kafka_not_fetched",
        f"{jar.artifact}: {problem}",
        f"check network and proxy, or put the files of jars.lock into a folder and name it in {LIBS_VARIABLE}",
    )


def _download(jar: Jar, folder: Path) -> Path:
    from jgo.maven import MavenContext

    group, name, version = jar.artifact.split(":")
    context = MavenContext(repo_cache=folder, local_repos=[], timeout=30)
    return Path(context.project(group, name).at_version(version).artifact().resolve())


def _given(folder: Path, jar: Jar) -> Path:
    path = folder / jar.file_name
    if not is_valid(path, jar):
        what = "does not have the sha256 of jars.lock" if path.exists() else "is missing"
        raise ConfigError(
            "kafka_jar_wrong",
            f"{path} {what}",
            f"put the files of jars.lock into that folder, or unset {LIBS_VARIABLE} to have them downloaded",
        )
    return path


def is_valid(path: Path, jar: Jar) -> bool:
    try:
        if path.stat().st_size != jar.bytes:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
    except FileNotFoundError:
        return False
