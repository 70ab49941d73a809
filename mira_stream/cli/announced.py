"""PROJECT/run/services*.json: where the services that run in a project can be asked for their metrics.

`up` writes services.json; each producer, which starts and ends by itself, a file of its own beside it; a dashboard,
which has no metrics, dashboard.json.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import msgspec
import orjson
import structlog
from msgspec import to_builtins

from mira_stream.errors import DependencyError
from mira_stream.observing.services import written
from mira_stream.supervision.keeping import Kept

SCHEMA: Final = "services.v1"
RUN: Final = "run"
DASHBOARD: Final = "dashboard.json"
log = structlog.get_logger()


class Announced(NamedTuple):
    name: str
    url: str
    pid: int


@contextmanager
def announced(root: Path, services: Sequence[Announced], file: str = "services.json") -> Iterator[Path]:
    """The file stands while the block runs; the last of two that write it wins, and each removes only its own."""
    content = orjson.dumps({"schema": SCHEMA, "services": [one._asdict() for one in services]}) + b"\n"
    with _standing(root / RUN / file, content) as path:
        yield path


@contextmanager
def announcing(root: Path, file: str) -> Iterator[Callable[[Sequence[Announced], Sequence[Kept]], None]]:
    """A function that says what runs now; each time it is called the file is replaced. At the end it is removed, if
    nobody else has written it since."""
    path, written = root / RUN / file, b""

    def say(services: Sequence[Announced], kept: Sequence[Kept]) -> None:
        nonlocal written
        content = {"schema": SCHEMA, "services": [one._asdict() for one in services], "kept": to_builtins(kept)}
        written = orjson.dumps(content) + b"\n"
        _put(path, written)

    try:
        yield say
    finally:
        _take_away(path, written)


@contextmanager
def _standing(path: Path, content: bytes) -> Iterator[Path]:
    _put(path, content)
    try:
        yield path
    finally:
        _take_away(path, content)


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(path)


def _take_away(path: Path, content: bytes) -> None:
    with suppress(FileNotFoundError):
        if path.read_bytes() == content:
            path.unlink()


@contextmanager
def announced_alone(root: Path, service: Announced) -> Iterator[None]:
    """One service in a file of its own, named by its name. Where the project cannot be written to, as in a container,
    it says so and runs on: `status --service NAME=URL` finds it."""
    file = f"services-{blake2b(service.name.encode(), digest_size=6).hexdigest()}.json"
    with _if_writable(announced(root, [service], file), service):
        yield


@contextmanager
def announced_dashboard(root: Path, url: str) -> Iterator[None]:
    """PROJECT/run/dashboard.json, so that `status` can ask the page: it has looked for longer. Of several the
    first is the one that is asked; where the project cannot be written to none is, and it runs on."""
    if dashboard_url(root) is not None:
        yield
        return
    service = Announced("dashboard", url, os.getpid())
    content = orjson.dumps(service._asdict()) + b"\n"
    with _if_writable(_standing(root / RUN / DASHBOARD, content), service):
        yield


def dashboard_url(root: Path) -> str | None:
    """Where the dashboard of that project that lives on this machine answers; None if there is none."""
    try:
        said = msgspec.json.decode((root / RUN / DASHBOARD).read_bytes(), type=_Said)
        return said.url if _lives(said.pid) else None
    except (OSError, msgspec.DecodeError):
        return None


class _Said(msgspec.Struct):
    url: str
    pid: Annotated[int, msgspec.Meta(gt=0, lt=1 << 31)]


def anyone_lives(root: Path) -> bool:
    """Whether a service of that project runs on this machine."""
    return any(one.pid is not None and one.pid > 0 and _lives(one.pid) for one in written(root))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # and is somebody else's
    return True


@contextmanager
def _if_writable(made: AbstractContextManager[Path], service: Announced) -> Iterator[None]:
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
