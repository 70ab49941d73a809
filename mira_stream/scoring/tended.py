"""An engine that is watched: one that has died or makes no progress is started anew, while its requests wait.

Requests that were in flight when it ended are asked again, halves of them apart (trial.py): a document that kills
the engine every time is found and refused, and its neighbours are answered.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from itertools import count
from typing import Final, NamedTuple

import structlog

from mira_stream.clock import Monotonic, monotonic
from mira_stream.errors import EngineError, StageStopped
from mira_stream.render import Offsets
from mira_stream.scoring.engine import Completion, Engine, Request, RequestRefused
from mira_stream.scoring.trial import Trial

log: Final = structlog.get_logger("mira_stream.engine")

CONVICTED_MAX: Final = 10_000
"""So many contents that kill the engine are remembered."""
CONVICTED_IN_A_ROW_MAX: Final = 5


class RestartPolicy(NamedTuple):
    """`pauses_s` between starts; when all are used up without one reply between, the stage stops.

    An engine that ends no request for `stall_s` seconds, though it has some, hangs: /health and a living process
    say nothing about that.
    """

    pauses_s: tuple[float, ...] = (0.0, 5.0, 20.0)
    stall_s: float = 120.0


class TendedEngine:
    """Keeps the promises of `Engine`; requests outlive the engine's ends. `restarted` hears of every start but the
    first, with its cause: died or stalled."""

    def __init__(
        self,
        engine: Engine,
        group: str,
        policy: RestartPolicy | None = None,
        now: Monotonic = monotonic,
        restarted: Callable[[str], None] = lambda cause: None,
    ) -> None:
        self._engine = engine
        self._group = group
        self._policy = policy or RestartPolicy()
        self._now = now
        self._restarted = restarted
        self._revival: asyncio.Task[None] | None = None
        """Under way: no caller's own, for a caller may be cancelled while the engine starts."""
        self._stopped = False
        self._deaths_in_a_row = 0
        self._progress_s = now()
        self._stalled = False
        self._over = asyncio.Event()
        """Set when this life of the engine ends."""
        self._trial = Trial()
        self._changed = asyncio.Event()
        self._calls = count()
        self._running: dict[int, bytes] = {}
        """Content by call."""
        self._convicted: OrderedDict[bytes, None] = OrderedDict()
        self._convicted_in_a_row = 0
        self._answered: Request | None = None
        """The last request that was answered: what a new life of the engine must be able to answer again."""
        self._has_worked = False
        """Whether this life of the engine has answered anything: only then is its end a document's fault."""
        self._failure: StageStopped | None = None

    async def start(self) -> None:
        self._stopped = False
        await self._engine.start()

    async def stop(self) -> None:
        self._stopped = True
        self._over.set()
        self._changed.set()
        if self._revival is not None:
            self._revival.cancel()
            await asyncio.wait([self._revival])
        await self._engine.stop()

    async def generate(self, request: Request) -> Completion:
        """Raises StageStopped when the engine dies again and again, RequestRefused if it dies of this request,
        EngineError if it is busy or was stopped."""
        call, content = next(self._calls), _fingerprint(request)
        try:
            while True:
                await self._turn(call, content)
                life = self._over
                if not self._running:
                    self._progress_s = self._now()
                self._running[call] = content
                try:
                    completion = await self._watched(request, life)
                except RequestRefused:
                    self._worked()
                    raise
                except EngineError:
                    if self.alive and not life.is_set():
                        raise
                    self._died(life)
                    continue
                finally:
                    self._running.pop(call, None)
                    self._progress_s = self._now()
                self._worked()
                self._answered, self._convicted_in_a_row = request, 0
                return completion
        finally:
            self._trial.over(call)
            self._changed.set()

    async def _turn(self, call: int, content: bytes) -> None:
        """Wait until the engine lives and this call may run."""
        while True:
            if content in self._convicted:
                raise RequestRefused("the engine has died of this document, the last time of it alone")
            if self._failure is not None:
                raise self._failure
            if self._stopped:
                raise EngineError("the engine was stopped", retriable=False)
            if self._is_over or self._revival is not None:  # a new life is tried out before anybody has it
                await self._until_revived()
            elif self._trial.may_run(call):
                return
            else:
                self._changed.clear()
                await self._changed.wait()

    async def _watched(self, request: Request, life: asyncio.Event) -> Completion:
        over = asyncio.ensure_future(life.wait())
        answer = asyncio.ensure_future(self._engine.generate(request))
        try:
            while True:
                left_s = self._policy.stall_s - (self._now() - self._progress_s)
                done, _ = await asyncio.wait({answer, over}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                if answer in done:
                    return answer.result()
                if over in done:
                    raise EngineError("the engine was started anew meanwhile", retriable=True)
                if self._now() - self._progress_s >= self._policy.stall_s:
                    self._stalled = True
                    raise EngineError(f"the engine ended no request for {self._policy.stall_s:g} s", retriable=True)
        finally:
            over.cancel()
            answer.cancel()

    @property
    def _is_over(self) -> bool:
        return not self.alive or self._over.is_set()

    def _gave_up(self) -> bool:
        return self._failure is not None

    def _worked(self) -> None:
        self._has_worked = True
        self._deaths_in_a_row = 0

    def _died(self, life: asyncio.Event) -> None:
        """Called by each that notices; the first one decides who is suspected. Whoever was in flight is in
        `_running` still, for each leaves it only behind this."""
        if life.is_set():
            return
        life.set()
        guilty = self._trial.died(self._running) if self._has_worked else None
        if guilty is None:
            return
        self._convicted[self._running[guilty]] = None
        if len(self._convicted) > CONVICTED_MAX:
            self._convicted.popitem(last=False)
        self._convicted_in_a_row += 1
        log.warning("a document kills the engine", group=self._group)
        if self._convicted_in_a_row == CONVICTED_IN_A_ROW_MAX:
            said = (
                f"the engine of group {self._group} died of {self._convicted_in_a_row} documents, one after the other"
            )
            self._failure = StageStopped("engine_crash_loop", said, _CRASH_FIX)

    async def _until_revived(self) -> None:
        """Raises what the start failed with. Whoever is cancelled here leaves the revival to the others."""
        if self._revival is None:
            self._revival = asyncio.create_task(self._revive(), name="revive engine")
            self._revival.add_done_callback(self._revival_over)
        revival = self._revival
        await asyncio.wait([revival])
        if not revival.cancelled():  # by `stop`
            revival.result()

    def _revival_over(self, revival: "asyncio.Task[None]") -> None:
        self._revival = None
        if not revival.cancelled() and (error := revival.exception()) is not None:  # perhaps nobody waits any more
            log.warning("engine did not start", group=self._group, cause=str(error))

    async def _revive(self) -> None:
        while self._is_over and not self._gave_up():
            if self._deaths_in_a_row == len(self._policy.pauses_s):
                said = f"the engine of group {self._group} died {self._deaths_in_a_row} times without a reply between"
                self._failure = StageStopped("engine_crash_loop", said, _CRASH_FIX)
                return
            pause_s = self._policy.pauses_s[self._deaths_in_a_row]
            self._deaths_in_a_row += 1
            log.warning("engine starts anew", group=self._group, stalled=self._stalled, pause_s=pause_s)
            self._restarted("stalled" if self._stalled else "died")
            self._died(self._over)  # seen here before those in flight have told
            if self._gave_up():
                return
            await self._engine.stop()
            await asyncio.sleep(pause_s)
            await self._engine.start()
            self._over, self._stalled, self._has_worked = asyncio.Event(), False, False
            await self._try_known()

    async def _try_known(self) -> None:
        """Ask what was answered before: a new life that dies of that, too, says nothing of any document."""
        known = self._answered
        if known is None:
            return
        self._progress_s = self._now()
        try:
            await self._watched(known._replace(request_id=f"known-{next(self._calls)}"), self._over)
        except EngineError:
            return  # dead, and started anew once more; or only busy
        self._worked()

    def tokenize(self, text: str) -> Offsets:
        return self._engine.tokenize(text)

    @property
    def tokens_basis(self) -> str:
        return self._engine.tokens_basis

    @property
    def special_tokens(self) -> tuple[str, ...]:
        return self._engine.special_tokens

    @property
    def alive(self) -> bool:
        return self._engine.alive and not self._stalled

    @property
    def serves(self) -> bool:
        return self.alive and self._engine.serves

    @property
    def running(self) -> int:
        """Requests that are with the engine."""
        return len(self._running)

    @property
    def progress_age_s(self) -> float:
        """Since the engine last ended a request, or got the first of those it has; 0 while it has none."""
        return self._now() - self._progress_s if self._running else 0.0


_CRASH_FIX: Final = "read its log; check memory, model folder and the documents the stage was working on"


def _fingerprint(request: Request) -> bytes:
    """The content of a request: a document asked again is the same one, whatever the request's id."""
    return blake2b(b"\x00".join(message["content"].encode(errors="replace") for message in request.messages)).digest()
