"""PROJECT/run/services.json: where the services of a running `up` can be asked for their metrics."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import orjson

SCHEMA: Final = "services.v1"


class Announced(NamedTuple):
    name: str
    url: str
    pid: int


@contextmanager
def announced(root: Path, services: Sequence[Announced]) -> Iterator[Path]:
    """The file stands while the block runs; the last of two `up` of one project wins, and each removes only its own."""
    path = root / "run" / "services.json"
    path.parent.mkdir(exist_ok=True)
    content = orjson.dumps({"schema": SCHEMA, "services": [one._asdict() for one in services]}) + b"\n"
    draft = path.with_name(f"services.json.{os.getpid()}")
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
