"""PROJECT/run/services*.json: where the services that run in a project can be asked for their metrics.

`up` writes services.json; each producer, which starts and ends by itself, a file of its own beside it.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

import orjson
import structlog

from mira_stream.errors import DependencyError

SCHEMA: Final = "services.v1"
RUN: Final = "run"
log = structlog.get_logger()


class Announced(NamedTuple):
    name: str
    url: str
    pid: int


@contextmanager
def announced(root: Path, services: Sequence[Announced], file: str = "services.json") -> Iterator[Path]:
    """The file stands while the block runs; the last of two that write it wins, and each removes only its own."""
    path = root / RUN / file
    path.parent.mkdir(exist_ok=True)
    content = orjson.dumps({"schema": SCHEMA, "services": [one._asdict() for one in services]}) + b"\n"
    draft = path.with_name(f"{file}.{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(path)
    try:
        yield path
    finally:
        try:
            if path.read_bytes() == content:
                path.unlink()
        except FileNotFoundError:
            pass


@contextmanager
def announced_alone(root: Path, service: Announced) -> Iterator[None]:
    """One service in a file of its own, named by its name. Where the project cannot be written to, as in a container,
    it says so and runs on: `status --service NAME=URL` finds it."""
    file = f"services-{blake2b(service.name.encode(), digest_size=6).hexdigest()}.json"
    made = announced(root, [service], file)
    try:
        made.__enter__()
    except OSError as error:
        log.info("not_announced", service=service.name, url=service.url, cause=str(error))
        yield
        return
    try:
        yield
    finally:
        made.__exit__(None, None, None)


@contextmanager
def alone(root: Path, command: str, why: str) -> Iterator[Callable[[str], None]]:
    """Be the only process of this command in the project on this machine; the function that is given says at which
    address. `why` two would be wrong goes into the refusal. The kernel takes the lock back however the process ends.
    Where no lock can be had (a project that cannot be written to, another machine) the broker's fence remains: the
    older of two ends.

    Raises DependencyError(already_running) at once.
    """
    path = root / RUN / f"{command.replace(' ', '-')}.lock"
    try:
        path.parent.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        yield lambda url: None
        return
    try:
        _lock(descriptor, command, why)

        def say(url: str) -> None:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"pid {os.getpid()}{f' at {url}' if url else ''}".encode(), 0)

        say("")
        yield say
    finally:
        os.close(descriptor)


def _lock(descriptor: int, command: str, why: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 300, 0).decode(errors="replace")
        raise DependencyError(
            "already_running",
            f"{command} runs in this project already: {holder}",
            f"use that one, or stop it first: {why}",
        ) from None
