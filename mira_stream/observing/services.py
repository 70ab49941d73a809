"""Which services there are (PROJECT/run/services*.json, or named by option), and asking one for its metrics."""

import asyncio
import socket
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from mira_stream.errors import UsageError
from mira_stream.observing.facts import Answer
from mira_stream.observing.scraped import parse
from mira_stream.observing.snapshot import KeptRow

FETCH_S: Final = 2.0
BYTES_MAX: Final = 4 * 2**20
FILES: Final = "run/services*.json"
DNS: Final = "dns+"


class Service(Struct, frozen=True, kw_only=True):
    name: str
    url: str
    pid: int | None = None


class ServicesFile(Struct, frozen=True, kw_only=True):
    """What `mira-stream up` writes while it runs, and each producer."""

    schema: Literal["services.v1"]
    services: list[Service] = []
    kept: list[KeptRow] = []


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        """A service that sends us elsewhere is not followed."""


_direct: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def named(options: Iterable[str]) -> dict[str, str]:
    """`NAME=URL` options as {name: url}. Raises UsageError(service_invalid). A URL that begins with `dns+` stands for
    one service at each address of its host: the replicas behind a headless Service of Kubernetes, for example."""
    found = {}
    for option in options:
        name, _, url = option.partition("=")
        parts = urlsplit(url)
        if not name or parts.scheme.removeprefix(DNS) not in ("http", "https") or not parts.hostname:
            raise UsageError(
                "service_invalid",
                f"--service {option!r}",
                f"write --service NAME=http://HOST:PORT, or NAME={DNS}http://HOST:PORT for each address of HOST",
            )
        found[name] = url.rstrip("/")
    return found


def running(root: Path) -> dict[str, str]:
    """{name: url} of the services that say that they run in this project; empty without such a file."""
    return {one.name: one.url.rstrip("/") for one in written(root) if one.url.startswith(("http://", "https://"))}


def written(root: Path) -> list[Service]:
    """The services whose files stand in this project; one that was killed has left its own."""
    return [one for file in _files(root) for one in file.services]


def kept_alive(root: Path) -> list[KeptRow]:
    """What `up` keeps alive in this project."""
    return [one for file in _files(root) for one in file.kept]


def _files(root: Path) -> Iterator[ServicesFile]:
    for path in sorted(root.glob(FILES)):
        try:
            yield msgspec.json.decode(path.read_bytes(), type=ServicesFile)
        except (OSError, msgspec.DecodeError):
            continue


async def ask(services: Mapping[str, str]) -> dict[str, Answer]:
    """The metrics of all services, asked side by side; an error where there is no answer."""
    each = await asyncio.gather(*(asyncio.to_thread(_each, name, url) for name, url in services.items()))
    services = {name: url for found in each for name, url in found.items()}
    answers = await asyncio.gather(*(asyncio.to_thread(_answer, url) for url in services.values()))
    return dict(zip(services, answers, strict=True))


def fetch(url: str, timeout_s: float = FETCH_S, token: str = "") -> bytes:
    """Raises OSError, HTTPException or ValueError: no answer in time, another status than 200, too long."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("no http address")
    asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with _direct.open(asked, timeout=timeout_s) as answer:
        body: bytes = answer.read(BYTES_MAX + 1)
    if len(body) > BYTES_MAX:
        raise ValueError(f"more than {BYTES_MAX} bytes")
    return body


def _each(name: str, url: str) -> dict[str, str]:
    """`NAME-ADDRESS` for each address of a host that stands for several; they answer under their addresses alone."""
    if not url.startswith(DNS):
        return {name: url}
    parts = urlsplit(url.removeprefix(DNS))
    port = parts.port or 80
    try:
        found = {str(one[4][0]) for one in socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)}
    except OSError:
        return {name: url}
    at = {one: f"[{one}]" if ":" in one else one for one in sorted(found)}
    return {f"{name}-{one}": f"{parts.scheme}://{host}:{port}" for one, host in at.items()}


def _answer(url: str) -> Answer:
    if url.startswith(DNS):
        return Answer(url, None, "its name has no address: none runs")
    try:
        return Answer(url, parse(fetch(f"{url}/metrics").decode()))
    except urllib.error.URLError as error:
        return Answer(url, None, str(error.reason)[:200])
    except (OSError, HTTPException, ValueError) as error:
        return Answer(url, None, (str(error) or type(error).__name__)[:200])
