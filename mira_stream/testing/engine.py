"""ScriptedEngine: an engine whose every reply is made by a function. It has no model and says so in its name."""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from math import log
from typing import Final

from mira_stream.errors import EngineError
from mira_stream.messages import DIMENSIONS, SLOTS, Verdict
from mira_stream.render import Offsets
from mira_stream.scorecard import Reply, TokenLogprobs, write
from mira_stream.scoring.engine import Completion, Request, RequestRefused

Answer = Callable[[Request], str]
"""Makes the reply to a request; may raise EngineError."""

GARBAGE: Final[dict[str, str]] = {
    "empty": "",
    "white": " \n\n ",
    "truncated": "[A1] 7/10\n[A2] 5/1",
    "nan": "\n".join(f"[{slot}] nan/10" for slot in SLOTS),
    "infinite": "\n".join(f"[{slot}] inf/10" for slot in SLOTS),
    "out_of_range": "\n".join(f"[{slot}] 11/10" for slot in SLOTS),
    "words": "\n".join(f"[{slot}] seven/10" for slot in SLOTS),
    "repeated": "[A1] 7/10\n" * 15,
    "html": "<html><body><h1>502 Bad Gateway</h1></body></html>",
    "error_body": '{"error": {"message": "model overloaded", "code": 503}}',
    "other_slots": "\n".join(f"[A{number}] 7/10" for number in range(16, 31)),
    "prose": "I think this document deserves 9/10 overall, a solid 8/10 on clarity.",
    "binary": "\x00\x01\ufffd" * 40,
}
"""Replies of a broken engine that hold no usable score card."""


def scores_of(text: str) -> list[int]:
    """Fifteen deterministic scores 1..10 from a hash of `text`."""
    digest = blake2b(text.encode(), digest_size=DIMENSIONS).digest()
    return [1 + byte % 10 for byte in digest]


def outputs_of(text: str) -> tuple[float, ...]:
    """Sixteen deterministic outputs of a head that knows the same hash: the fifteen scores, a little off, and their
    mean."""
    scores = scores_of(text)
    return (*(score + 0.25 for score in scores), sum(scores) / DIMENSIONS)


def verdict_of(overall: float) -> Verdict:
    return "keep" if overall >= 60 else "drop" if overall < 40 else "downsample"


def hashed_answer(request: Request) -> str:
    """The demo students' wire format with scores from a hash of the user message."""
    scores = scores_of(request.messages[-1]["content"])
    overall = round(sum(scores) * 10 / DIMENSIONS)
    return write(Reply(scores, overall, verdict_of(overall)), "scores_first", "scores", [""] * DIMENSIONS)


def in_turn(*answers: str | Exception) -> Answer:
    """Gives each answer once, in order, raising those that are exceptions; then goes on as `hashed_answer`."""
    left: Iterator[str | Exception] = iter(answers)

    def answer(request: Request) -> str:
        one = next(left, None)
        if isinstance(one, Exception):
            raise one
        return hashed_answer(request) if one is None else one

    return answer


class ScriptedEngine:
    """Keeps the promises of `Engine`. Tests may set `answer` and `hold` at any time and read the counts.

    While `hold` is set to an unset event, `generate` waits for it: that is how a test decides what finishes when.
    `hold_if` limits the waiting to the requests it picks. A token is a run of word characters or one other sign. Asked
    for log-probabilities, it is certain of each token, but for the `others` that a test makes it think of. Asked for
    `outputs`, it gives those that `head` makes of the user message.
    """

    def __init__(self, answer: Answer = hashed_answer, context_tokens_max: int = 1_000_000) -> None:
        self.answer = answer
        self.context_tokens_max = context_tokens_max
        self.others: Callable[[str], Mapping[str, float]] = lambda token: {}
        """Other tokens in a token's place, and their probabilities."""
        self.head: Callable[[str], tuple[float, ...]] = outputs_of
        self.hold: asyncio.Event | None = None
        self.hold_if: Callable[[Request], bool] = lambda request: True
        self.requests: list[Request] = []
        self.starts = 0
        self.stops = 0
        self.in_flight = 0
        self.in_flight_most = 0
        self.cancelled = 0
        self._alive = False

    async def start(self) -> None:
        self.starts += 1
        self._alive = True

    async def stop(self) -> None:
        self.stops += 1
        self._alive = False

    def die(self) -> None:
        """From now on every request fails as if the engine's process had been killed."""
        self._alive = False

    async def generate(self, request: Request) -> Completion:
        self.requests.append(request)
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight, self.in_flight_most)
        try:
            if self.hold is not None and self.hold_if(request):
                await self.hold.wait()
            else:
                await asyncio.sleep(0)
            return self._complete(request)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1

    def _complete(self, request: Request) -> Completion:
        if not self._alive:
            raise EngineError("the scripted engine is dead", retriable=False)
        prompt_tokens = sum(len(self.tokenize(message["content"])) for message in request.messages)
        if prompt_tokens + request.max_tokens > self.context_tokens_max:
            raise RequestRefused(f"prompt of {prompt_tokens} tokens does not fit the context")
        if request.outputs:
            outputs = self.head(request.messages[-1]["content"])
            return Completion("", "stop", prompt_tokens, 0, outputs=outputs)
        text = self.answer(request)
        generated = len(self.tokenize(text))
        logprobs = tuple(map(self._logprobs, re.findall(r"\s*\w+|\s*[^\w\s]|\s+", text))) if request.logprobs else ()
        return Completion(text, "stop", prompt_tokens, generated, logprobs=logprobs)

    def _logprobs(self, token: str) -> TokenLogprobs:
        others = self.others(token)
        return TokenLogprobs(token, log(1 - sum(others.values())), tuple((one, log(p)) for one, p in others.items()))

    def tokenize(self, text: str) -> Offsets:
        return _offsets(text)

    @property
    def tokens_basis(self) -> str:
        return "tokenizer:scripted"

    @property
    def special_tokens(self) -> tuple[str, ...]:
        return ()

    @property
    def alive(self) -> bool:
        return self._alive

    @property
    def serves(self) -> bool:
        return self.alive


def _offsets(text: str) -> Sequence[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]
