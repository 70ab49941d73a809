"""What a check says, and how checks run: side by side, each with a time limit of its own."""

import asyncio
import atexit
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Literal, NamedTuple, TypeVar

from mira_stream.clock import monotonic
from mira_stream.errors import MiraError

Status = Literal["ok", "warn", "fail", "skipped"]
LIMIT_S: Final = 3.0
WHOLE_S: Final = 5.0
"""All checks together: what has not answered by then is not known, whatever its own limit."""
LEAVE_S = 5.0
"""So long the end of the process waits for checks that nobody waits for any more."""
THREAD: Final = "a check"
T = TypeVar("T")


class Verdict(NamedTuple):
    """`fix` says what to do about `warn` and `fail`; of `skipped`, `said` is the reason."""

    status: Status
    said: str
    fix: str = ""


class Check(NamedTuple):
    """`run` gathers facts and judges them; a MiraError it raises is a failure with its own way out. `limit_s`: else
    LIMIT_S."""

    name: str
    run: Callable[[], Awaitable[Verdict]]
    limit_s: float | None = None


class Finding(NamedTuple):
    """One check's end."""

    check: str
    status: Status
    said: str
    fix: str


def ok(said: str) -> Verdict:
    return Verdict("ok", said)


def warn(said: str, fix: str) -> Verdict:
    return Verdict("warn", said, fix)


def fail(said: str, fix: str) -> Verdict:
    return Verdict("fail", said, fix)


def skipped(reason: str) -> Verdict:
    return Verdict("skipped", reason)


async def run_all(checks: Sequence[Check], whole_s: float = WHOLE_S) -> list[Finding]:
    """All at once, in `whole_s` at most; findings in the order of the checks."""
    return list(await asyncio.gather(*(_run(check, whole_s) for check in checks)))


async def _run(check: Check, whole_s: float) -> Finding:
    limit_s = min(whole_s, LIMIT_S if check.limit_s is None else check.limit_s)
    try:
        async with asyncio.timeout(limit_s):
            verdict = await check.run()
    except TimeoutError:
        verdict = warn(f"not known: no answer within {limit_s:g} s", "run it again when the machine is less busy")
    except MiraError as error:
        verdict = fail(f"{error.code}: {error.cause}", error.fix)
    except Exception as error:
        verdict = fail(f"the check itself broke: {type(error).__name__}: {error}", "report this line")
    return Finding(check.name, *verdict)


async def in_thread(call: Callable[[], T]) -> T:
    """Like asyncio.to_thread, in a thread that the end of the process waits for no longer than LEAVE_S."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: Exception | None) -> None:
        if not done.done():
            done.set_exception(error) if error is not None else done.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result: T | None = None
        failed: Exception | None = None
        try:
            result = call()
        except Exception as error:
            failed = error
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(finish, result, failed)

    threading.Thread(target=work, name=THREAD, daemon=True).start()
    return await done


@atexit.register
def _let_end() -> None:
    """Python may crash where it ends while a thread imports, or works in a library's own code; one that hangs does
    neither, and is left."""
    until_s = monotonic() + LEAVE_S
    for thread in threading.enumerate():
        if thread.name == THREAD:
            thread.join(max(0.0, until_s - monotonic()))
