"""Standard output is for data, standard error for talk."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape

from mira_stream.errors import MiraError

# A name may stand between colons (`source:notes:`), which rich would show as a picture: no emoji.
talk = Console(stderr=True, emoji=False, highlight=False)
"""For people: progress, tables, warnings."""
shown = Console(emoji=False, highlight=False)
"""For people, where what they asked for is a picture: it can be piped, as data can."""


def say(line: str) -> None:
    """A line for people, as it is: nothing in it is markup, and no line is cut."""
    talk.print(line, markup=False, soft_wrap=True)


@contextmanager
def said_if_stopped(line: str) -> Iterator[None]:
    """What a signal that ends the block has come to."""
    try:
        yield
    except (KeyboardInterrupt, asyncio.CancelledError):
        say(line)
        raise


def emit(value: Any) -> None:
    """Write one JSON object and a newline to standard output."""
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def complain(error: MiraError) -> None:
    """Say what happened, why, and what to do."""
    talk.print(f"[bold red]error[/] {escape(f'{error.code}: {error.cause}')}", soft_wrap=True)
    talk.print(f"  do: {error.fix}", soft_wrap=True, markup=False)
