"""Keeps the services of one run alive: who dies is started again, later each time, and given up in the end.

1. `start` a service, 2. `look` now and then, and `kill_if_still` by what it answers, 3. what `look` raises ends the
run: a death that no start mends (a wrong configuration), or one too many.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import structlog
from msgspec import Struct

from mira_stream.errors import MiraError
from mira_stream.supervision.pulse import Beat, Pulse
from mira_stream.supervision.restarts import FINAL, Patience, Restarts
from mira_stream.supervision.still import Still
from mira_stream.supervision.supervisor import SAID_BY_ERRORS, Child, Supervisor, how_it_ended, last_words, service_died

State = Literal["runs", "waits", "given_up"]
GONE_S: Final = 60.0
"""What a killed service left behind is waited for so long at most, before it is started anyway, and may fail."""
log: Final = structlog.get_logger("mira_stream.up")


class Kept(Struct, kw_only=True):
    """What is known of a service that is kept alive. `died_ms`: of its last death; `why`: how it ended, by its own last
    words. One that is not `vital` is given up without ending the run."""

    name: str
    vital: bool = True
    state: State = "runs"
    restarts: int = 0
    died_ms: int | None = None
    why: str = ""


class _Service:
    def __init__(self, child: Child, arguments: Callable[[], Sequence[str]], vital: bool, patience: Patience) -> None:
        self.child = child
        self.arguments = arguments
        self.restarts = Restarts(patience)
        self.kept = Kept(name=child.name, vital=vital)
        self.due_s = 0.0
        self.pulse = Pulse(0)
        self.still: Still | None = None
        """Its end, if it stands still."""


class Keeper:
    """`now_s` is any clock that goes on, `now_ms` the time of day; `changed` is told after each death and start.
    `missed_max`: beats in a row that a service may miss (`kill_if_still`); 0: any number."""

    def __init__(
        self,
        supervisor: Supervisor,
        patience: Patience,
        now_s: Callable[[], float],
        now_ms: Callable[[], int],
        changed: Callable[[], None] = lambda: None,
        *,
        missed_max: int = 0,
    ) -> None:
        self._supervisor = supervisor
        self._patience = patience
        self._now_s = now_s
        self._now_ms = now_ms
        self._changed = changed
        self._missed_max = missed_max
        self._services: dict[str, _Service] = {}

    async def start(self, name: str, arguments: Callable[[], Sequence[str]], *, vital: bool = True) -> None:
        """`arguments` is asked at each start: what was free before a pause (a port) may be taken behind it."""
        child = await self._supervisor.start(name, *arguments(), vital=vital)
        service = self._services[name] = _Service(child, arguments, vital, self._patience)
        service.pulse = Pulse(self._missed_max)

    def pid(self, name: str) -> int:
        return self._services[name].child.process.pid

    def kept(self) -> list[Kept]:
        return [service.kept for service in self._services.values()]

    async def look(self, *, hold: bool = False) -> None:
        """Bury who has died, kill who stands still, start who is due; with `hold` nobody is (what they need is away).

        Raises the error of a vital service that is given up, of the kind that its exit code names.
        """
        for service in self._services.values():
            if service.kept.state == "runs" and service.child.ended.done():
                self._bury(service)
            elif service.kept.state == "runs" and service.still is not None:
                self._kill(service, service.still)
            elif service.kept.state == "waits" and not hold and self._now_s() >= service.due_s:
                await self._again(service)

    def kill_if_still(self, name: str, pid: int, beat: Beat) -> None:
        """By what the process answered that `pid` named when it was asked. One that stands still is asked for its
        stack now; `look` kills it when it has had the time to write it, and buries it."""
        service = self._services[name]
        if service.still is not None or service.child.process.pid != pid or service.child.ended.done():
            return
        if service.pulse.beat(beat):
            still = service.still = Still(service.child, service.pulse.missed, self._now_s())
            log.error("service_stands_still", service=name, missed=service.pulse.missed, state=still.state)

    def _kill(self, service: _Service, still: Still) -> None:
        """One that cannot be killed counts as dead: another may be able to do its work."""
        if still.look(self._now_s()):
            self._died(service, still.why_it_stays)

    async def _again(self, service: _Service) -> None:
        """Start it, once nothing of its last life is left: a model's engine holds the GPU's memory until it has ended.
        A start that fails counts as a death."""
        kept = service.kept
        if left := service.child.kill_left():
            if self._now_s() < service.due_s + GONE_S:
                return
            log.error("service_left_behind", service=kept.name, processes=left, waited_s=GONE_S)
        try:
            service.child = await self._supervisor.start(kept.name, *service.arguments(), vital=kept.vital)
        except OSError as error:
            self._died(service, f"it could not be started: {type(error).__name__}: {error}")
            return
        service.pulse, service.still = Pulse(self._missed_max), None
        kept.state = "runs"
        log.info("service_started_again", service=kept.name, restarts=kept.restarts)
        self._changed()

    def _bury(self, service: _Service) -> None:
        child = service.child
        child.kill()  # what it had started
        still = service.still
        self._died(service, ": ".join([how_it_ended(child), *_words(child)]) if still is None else still.why)

    def _died(self, service: _Service, why: str) -> None:
        child, kept = service.child, service.kept
        kept.died_ms, kept.why = self._now_ms(), why
        wait_s = None if child.code in FINAL else service.restarts.died(self._now_s())
        if wait_s is None:
            kept.state = "given_up"
            self._changed()
            error = self._given_up(service)
            if kept.vital:
                raise error
            log.error("service_given_up", service=kept.name, cause=error.cause, fix=error.fix)
            return
        kept.state, kept.restarts = "waits", service.restarts.total
        service.due_s = self._now_s() + wait_s
        log.error("service_died", service=kept.name, how=kept.why, log=str(child.log), again_in_s=wait_s)
        self._changed()

    @staticmethod
    def _given_up(service: _Service) -> MiraError:
        error = service_died(service.child)
        if service.child.code in FINAL:
            return error
        why = service.kept.why
        cause = error.cause if why in error.cause else f"{why}\n{error.cause}"
        fix = f"{error.fix}; then run it again: nothing is lost, it goes on where it stopped"
        return type(error)(error.code, f"{cause}\n{service.restarts.given_up()}", fix)


def _words(child: Child) -> list[str]:
    """The line that says why, if it had the time to write one."""
    said = last_words(child.log, child.said_before)
    if said and said[0].startswith(SAID_BY_ERRORS):
        return said[:1]
    return said[-1:] if child.ended.result() >= 0 else []
