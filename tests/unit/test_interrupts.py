"""Signals at a command's work: the first is heeded in order, one that finds the loop busy ends it."""

import asyncio
import os
import signal

import pytest

from mira_stream.cli.interrupts import STOP_SIGNALS, run


def tell(number: signal.Signals = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_lets_the_work_keep_what_is_under_way_and_ends_by_keyboard_interrupt(number: signal.Signals) -> None:
    kept = []

    async def work() -> None:
        tell(number)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            kept.append("answer")

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        run(work())
    assert kept == ["answer"]
    assert signal.getsignal(number) is before


def test_the_second_ends_what_the_first_waits_for() -> None:
    async def work() -> None:
        tell()
        try:
            await asyncio.Event().wait()
        finally:
            tell()
            await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        run(work())


def test_the_second_interrupts_work_that_has_not_heeded_the_first() -> None:
    """The loop is kept busy by what asks nobody, as by reading a large file."""
    reached = []

    async def work() -> None:
        tell()
        reached.append("busy after the first")
        tell()
        reached.append("busy after the second")

    with pytest.raises(KeyboardInterrupt):
        run(work())
    assert reached == ["busy after the first"]


def test_the_third_interrupts_in_any_case() -> None:
    reached = []

    async def work() -> None:
        for _ in range(2):
            tell()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                reached.append("cancelled")
        tell()
        reached.append("went on")

    with pytest.raises(KeyboardInterrupt):
        run(work())
    assert reached == ["cancelled", "cancelled"]


def test_a_cancellation_that_no_signal_asked_for_stays_one_and_a_result_is_returned() -> None:
    async def work() -> int:
        return 7

    async def cancelled() -> None:
        raise asyncio.CancelledError

    assert run(work()) == 7
    with pytest.raises(asyncio.CancelledError):
        run(cancelled())
