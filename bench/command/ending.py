"""How a benchmark ends: done, refused, or told to stop by Ctrl-C or SIGTERM."""

import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn, TypeVar

import uvloop

from mira_stream.cli import interrupts
from mira_stream.cli.main import EXIT_INTERRUPTED
from mira_stream.cli.output import complain, say
from mira_stream.errors import MiraError

T = TypeVar("T")
NOTHING_KEPT: Final = "stopped: nothing of this run is kept"


def program(main: Callable[[], int | None], stopped: str = NOTHING_KEPT) -> NoReturn:
    """Run `main` as this process: its code, else 0; the code of a MiraError, which is said; 130 if it was stopped, and
    then `stopped` says what is left of it."""
    interrupts.sigterm_as_ctrl_c()
    try:
        sys.exit(main() or 0)
    except MiraError as error:
        complain(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        say(stopped)
        sys.exit(EXIT_INTERRUPTED)


def run(work: Coroutine[Any, Any, T]) -> T:
    """The work's result, on uvloop. The first signal cancels it, and what it has started ends first; the second cancels
    all there is (KeyboardInterrupt, both)."""
    return interrupts.run(work, uvloop.new_event_loop)
