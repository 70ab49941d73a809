"""What the scorer needs of an engine. vllm_engine/, openai_engine/ and testing/ keep these promises alike."""

from typing import Literal, NamedTuple, Protocol

from mira_stream.errors import EngineError
from mira_stream.render import Offsets
from mira_stream.scorecard import TokenLogprobs

FinishReason = Literal["stop", "length", "abort"]


class Request(NamedTuple):
    """One generation, or one pass of a head. `request_id` is unique per attempt; `regex` constrains the reply where the
    engine can.

    `logprobs`: of how many of the most likely tokens in each place the log-probabilities are wanted; 0 for none.
    `outputs`: how many numbers are wanted of a regression head instead of text; 0 of a student that generates.
    `view`: the document as it stands in the messages, which an engine that has just counted its tokens need not read
    again.
    """

    request_id: str
    messages: list[dict[str, str]]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    regex: str | None = None
    logprobs: int = 0
    outputs: int = 0
    view: str = ""

    def __repr__(self) -> str:
        return f"<Request {self.request_id} max_tokens={self.max_tokens}>"


class Completion(NamedTuple):
    """What the engine generated. Token ids are empty where an endpoint does not give them, `logprobs` where the
    request did not ask for them, too; they are those the reply was drawn from, after `regex`. `outputs`: what
    a head gave, raw; there is no text then."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    generation_tokens: int
    cached_tokens: int = 0
    token_ids: tuple[int, ...] = ()
    prompt_token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprobs, ...] = ()
    outputs: tuple[float, ...] = ()

    def __repr__(self) -> str:
        return f"<Completion {self.finish_reason} {self.prompt_tokens}+{self.generation_tokens} tokens>"


class RequestRefused(EngineError):
    """The engine works but cannot take this request: too long for its context, or invalid."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retriable=False)


class Engine(Protocol):
    """A student being served. `generate` may run many times at once."""

    async def start(self) -> None:
        """Make ready. Raises ConfigError (wrong model folder) or DependencyError (cannot be served)."""
        ...

    async def stop(self) -> None:
        """End everything that `start` began; requests in flight raise EngineError. May be called twice."""
        ...

    async def generate(self, request: Request) -> Completion:
        """Cancelling the call aborts the request. Raises RequestRefused for this request, EngineError(retriable)
        for now, and any other EngineError once the engine is dead."""
        ...

    def tokenize(self, text: str) -> Offsets:
        """Of each token of `text`, the characters [start, end); no special tokens are added."""
        ...

    @property
    def tokens_basis(self) -> str:
        """How `tokenize` counts: `tokenizer:<name>` or `bytes/4`."""
        ...

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Strings that the student's tokenizer would take for control tokens; empty where unknown."""
        ...

    @property
    def alive(self) -> bool:
        """False once the engine can serve no request any more and must be started anew."""
        ...

    @property
    def serves(self) -> bool:
        """False while it answers nothing, though it need not be started anew: every endpoint is away."""
        ...
