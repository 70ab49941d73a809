"""One view in, one reading out: prompt, generate, parse, and once more if not all fifteen scores were read."""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from mira_stream.clock import Monotonic, monotonic
from mira_stream.errors import DocumentError, EngineError
from mira_stream.messages import DIMENSIONS, Sent
from mira_stream.prompt import Prompt
from mira_stream.rubric.anchors import Rubric
from mira_stream.scorecard import (
    OUTPUTS,
    READ_MIN,
    Expected,
    Reading,
    check_mode,
    expected_scores,
    parse,
    read_outputs,
    reply_regex,
)
from mira_stream.scoring.engine import Completion, Engine, Request, RequestRefused
from mira_stream.scoring.lineage import seed
from mira_stream.sections import GroupSection

ATTEMPTS: Final = 2
PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Before a request is sent again to an engine that failed; then EngineError goes up."""
LOGPROBS: Final = 20
"""Mode `expected` reads the log-probabilities of so many tokens in each place: what endpoints give at most."""
EXPECTED_DECIMALS: Final = 4
RETRY_AFTER_MAX_S: Final = 60.0
"""An engine that says when to ask again is believed up to here."""


class ScoringMetrics(Protocol):
    def dead(self, stage: str, reason: str) -> None: ...

    def repaired(self, group: str, repair: str) -> None: ...

    def generated(
        self, group: str, prompt_tokens: int, generation_tokens: int, cached_tokens: int, seconds: float
    ) -> None: ...

    def sent_on(self, group: str, sent: Sent) -> None: ...

    def scored(self, group: str, scores: Sequence[float | None]) -> None: ...


class Judgement(NamedTuple):
    """The better attempt; `engine_s` is the time of all attempts together. `expected`: by slot, in that mode only."""

    reading: Reading
    completion: Completion
    attempts: int
    engine_s: float
    expected: list[Expected | None] | None = None

    @property
    def scores(self) -> list[float | None]:
        """What the mode takes for the fifteen scores: as they were read, or as they are to be expected."""
        if self.expected is None:
            return self.reading.scores
        return [None if one is None else round(one.score, EXPECTED_DECIMALS) for one in self.expected]

    @property
    def read(self) -> int:
        """How many of the fifteen there are."""
        return sum(score is not None for score in self.scores)


class Judge:
    """A source group's prompt, parser and engine. Raises ConfigError for a mode that cannot be served."""

    def __init__(
        self,
        group: str,
        settings: GroupSection,
        rubric: Rubric,
        prompt: Prompt,
        lineage: str,
        engine: Engine,
        metrics: ScoringMetrics,
        pauses_s: tuple[float, ...] = PAUSES_S,
        now: Monotonic = monotonic,
    ) -> None:
        self._group = group
        self._settings = settings
        self._names = rubric.names
        self._prompt = prompt
        self._lineage = lineage
        self._engine = engine
        self._metrics = metrics
        self._pauses_s = pauses_s
        self._now = now
        check_mode(settings.layout, settings.mode, constrained=settings.constrained)
        self._is_head = settings.mode == "head"
        spoken = settings.constrained and not self._is_head
        self._regex = reply_regex(settings.layout, settings.mode, rubric.names) if spoken else None

    async def judge(self, view: str, document_id: str, request_id: str) -> Judgement:
        """Raises DocumentError(reply_unreadable | engine_refused), or EngineError if the engine stays away.

        A second attempt has another seed, and more room if the first was cut off. At temperature 0 it helps only
        against the latter and against an endpoint that garbles; it is rare enough not to be spared there. A head
        would only say the same again.
        """
        best: Judgement | None = None
        started = self._now()
        for attempt in range(1, 1 + (1 if self._is_head else ATTEMPTS)):
            request = self._request(view, document_id, request_id, attempt, best)
            try:
                completion = await self._generate(request)
            except RequestRefused as error:
                if best is None:
                    raise DocumentError("engine_refused", str(error)) from None
                break
            judged = self._judged(completion)
            if best is None or judged.read > best.read:
                best = judged
            best = best._replace(attempts=attempt)
            if judged.read == DIMENSIONS:
                break
        assert best is not None
        return self._accept(best._replace(engine_s=self._now() - started))

    def request(self, view: str, document_id: str, request_id: str) -> Request:
        """What the first attempt asks for."""
        return self._request(view, document_id, request_id, 1, None)

    def _request(self, view: str, document_id: str, request_id: str, attempt: int, before: Judgement | None) -> Request:
        settings, messages = self._settings, self._prompt.messages(view)
        if self._is_head:
            return Request(f"{request_id}-{attempt}", messages, 0, outputs=len(OUTPUTS), view=view)
        room = settings.reply_tokens_max
        if before is not None and before.completion.finish_reason == "length":
            room = max(room, min(2 * room, settings.context_tokens_max - before.completion.prompt_tokens))
        return Request(
            f"{request_id}-{attempt}",
            messages,
            room,
            settings.temperature,
            settings.top_p,
            seed(self._lineage, document_id, attempt),
            self._regex,
            LOGPROBS if settings.mode == "expected" else 0,
            view=view,
        )

    def _judged(self, completion: Completion) -> Judgement:
        if self._is_head:
            return Judgement(read_outputs(completion.outputs), completion, 1, 0.0)
        reading = parse(completion.text, self._settings.layout, self._names)
        expected = None
        if self._settings.mode == "expected":
            expected = expected_scores(completion.text, completion.logprobs, reading.scores)
        return Judgement(reading, completion, 1, 0.0, expected)

    async def _generate(self, request: Request) -> Completion:
        for number, pause_s in enumerate((*self._pauses_s, None)):
            started = self._now()
            try:
                completion = await self._engine.generate(request._replace(request_id=f"{request.request_id}.{number}"))
            except RequestRefused:
                raise
            except EngineError as error:
                if pause_s is None:
                    raise
                await asyncio.sleep(max(pause_s, min(error.retry_after_s or 0.0, RETRY_AFTER_MAX_S)))
                continue
            self._metrics.generated(
                self._group,
                completion.prompt_tokens,
                completion.generation_tokens,
                completion.cached_tokens,
                self._now() - started,
            )
            return completion
        raise AssertionError("the last pass raises")

    def _accept(self, judgement: Judgement) -> Judgement:
        reading = judgement.reading
        for repair in reading.repairs:
            self._metrics.repaired(self._group, repair.split(":")[0])
        if self._is_head and not judgement.reading.complete:
            outputs = ", ".join(f"{value:g}" for value in judgement.completion.outputs)
            raise UnreadableReply(f"the head gave {outputs or 'nothing'} ({', '.join(reading.repairs)})", 1)
        if judgement.read < READ_MIN:
            reply = judgement.completion.text
            lacking = "" if judgement.expected is None else f", log-probabilities at {judgement.read}"
            raise UnreadableReply(
                f"{reading.read} of 15 scores read{lacking}, finish_reason {judgement.completion.finish_reason};"
                f" the reply of {len(reply)} characters begins {reply[:300]!r}",
                judgement.attempts,
            )
        return judgement


class UnreadableReply(DocumentError):
    def __init__(self, error: str, attempts: int) -> None:
        super().__init__("reply_unreadable", error)
        self.attempts = attempts
