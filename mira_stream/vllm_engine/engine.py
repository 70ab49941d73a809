"""A student served by vLLM's AsyncLLM inside this process (its engine core and workers are child processes)."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from mira_stream.config import Project
from mira_stream.errors import EngineError
from mira_stream.render import Offsets
from mira_stream.scorecard import TokenLogprobs
from mira_stream.scoring.engine import Completion, FinishReason, Request, RequestRefused
from mira_stream.scoring.origin import check_there
from mira_stream.scoring.student import check_student
from mira_stream.scoring.tokenizer import StudentTokenizer
from mira_stream.sections import GroupSection
from mira_stream.vllm_engine.emptying import empty
from mira_stream.vllm_engine.prompts import ChatPrompts
from mira_stream.vllm_engine.starter import Starter

if TYPE_CHECKING:
    from vllm import CompletionOutput, RequestOutput, SamplingParams
    from vllm.v1.engine.async_llm import AsyncLLM

log: Final = structlog.get_logger("mira_stream.engine")
LOGPROB_MIN: Final = -30.0
"""Less likely tokens (1e-13) are as good as forbidden."""
INLINE_CHARACTERS_MAX: Final = 32 * 1024
"""Longer prompts are made in a thread, so that heartbeats go on: 10,000 tokens take some 20 ms."""
STOP_S: Final = 8.0
"""For the engine core to end its worker and clean up; then it is killed."""


class VllmEngine:
    """Keeps the promises of `Engine`. May be started again after it was stopped or has died."""

    def __init__(self, student: Path, settings: GroupSection, threads: int = 0) -> None:
        """`threads`: as [limits] engine_threads says."""
        self._student = student
        self._settings = settings
        self._threads = threads
        self._llm: AsyncLLM | None = None
        self._prompts: ChatPrompts | None = None
        self._tokenizer: StudentTokenizer | None = None

    @classmethod
    def for_group(cls, project: Project, group: str) -> "VllmEngine":
        """Raises ConfigError(student_missing) where there is no student yet."""
        check_there(project, group)
        threads = project.settings.limits.engine_threads
        return cls(project.served_path(group), project.settings.groups[group], threads)

    async def start(self) -> None:
        """Takes about half a minute. Raises ConfigError before vLLM is imported, DependencyError if vLLM fails.
        Cancelling it kills what was started so far."""
        for note in check_student(self._student, trust_remote_code=self._settings.trust_remote_code):
            log.warning("student_unchecked", note=note)
        self._tokenizer = StudentTokenizer(self._student)
        starter = Starter(self._student, self._settings, self._threads)
        self._llm, chat = await starter.run()
        self._prompts = ChatPrompts(chat, self._tokenizer)

    async def stop(self) -> None:
        llm, self._llm = self._llm, None
        if llm is not None:
            await asyncio.to_thread(llm.shutdown, STOP_S)
            vars(llm)["shutdown"] = _nothing  # its finalizer calls it again when half the interpreter may be gone

    async def generate(self, request: Request) -> Completion:
        llm = self.llm
        from vllm.exceptions import VLLMClientError, VLLMError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        prompt = await self._prompt(request)
        room = self._settings.context_tokens_max - len(prompt)
        if room < request.max_tokens:
            raise RequestRefused(
                f"prompt of {len(prompt)} tokens and {request.max_tokens} for the reply exceed the context of"
                f" {self._settings.context_tokens_max}"
            )
        try:
            if request.outputs:
                return await _pooled(llm, prompt, request)
            output = await self._last_output(llm, prompt, request)
        except EngineDeadError as error:
            raise EngineError(f"vLLM's engine died: {error}", retriable=False) from None
        except (VLLMClientError, ValueError) as error:
            raise RequestRefused(f"vLLM refuses the request: {error}") from None
        except (EngineGenerateError, VLLMError) as error:
            cause = error.__cause__ or error
            if isinstance(cause, ValueError):
                raise RequestRefused(f"vLLM refuses the request: {cause}") from None
            raise EngineError(f"vLLM failed: {cause}", retriable=self.alive) from None
        return _completion(output, prompt)

    @property
    def llm(self) -> "AsyncLLM":
        """Raises EngineError unless it runs."""
        if self._llm is None or not self.alive:
            raise EngineError("vLLM's engine is not running", retriable=False)
        return self._llm

    def prompt(self, messages: list[dict[str, str]], view: str = "") -> list[int]:
        """Token ids of chat messages, thinking off: those that `vllm serve` makes of them. `view`: as in Request."""
        assert self._prompts is not None
        return self._prompts.ids(messages, view)

    async def _prompt(self, request: Request) -> list[int]:
        if sum(len(one["content"]) for one in request.messages) > INLINE_CHARACTERS_MAX:
            return await asyncio.to_thread(self.prompt, request.messages, request.view)
        return self.prompt(request.messages, request.view)

    async def _last_output(self, llm: "AsyncLLM", prompt: list[int], request: Request) -> "RequestOutput":
        last = None
        async for output in llm.generate({"prompt_token_ids": prompt}, sampling(request), request.request_id):
            last = output
        if last is None or not last.outputs:
            raise EngineError("vLLM ended the request without an answer", retriable=True)
        return last

    async def reset_prefix_cache(self) -> None:
        """Forget all cached prompts: between the runs of a comparison. Raises DependencyError(cache_kept)."""
        if self._llm is not None:
            await empty(self._llm.reset_prefix_cache)

    def tokenize(self, text: str) -> Offsets:
        return self._known_tokenizer.tokenize(text)

    @property
    def tokens_basis(self) -> str:
        return self._known_tokenizer.basis

    @property
    def special_tokens(self) -> tuple[str, ...]:
        return self._known_tokenizer.special_tokens

    @property
    def _known_tokenizer(self) -> StudentTokenizer:
        if self._tokenizer is None:
            self._tokenizer = StudentTokenizer(self._student)
        return self._tokenizer

    @property
    def alive(self) -> bool:
        return self._llm is not None and not self._llm.errored

    @property
    def serves(self) -> bool:
        return self.alive


def _nothing() -> None: ...


async def _pooled(llm: "AsyncLLM", prompt: list[int], request: Request) -> Completion:
    """The head's raw outputs at the prompt's last token: vLLM is told to make no probabilities of them."""
    from vllm import PoolingParams

    last = None
    asked = PoolingParams(task="classify", use_activation=False)
    async for output in llm.encode({"prompt_token_ids": prompt}, asked, request.request_id):
        last = output
    if last is None:
        raise EngineError("vLLM ended the request without an answer", retriable=True)
    outputs = tuple(last.outputs.data.flatten().tolist())
    return Completion("", "stop", len(prompt), 0, last.num_cached_tokens or 0, (), tuple(prompt), (), outputs)


def sampling(request: Request) -> "SamplingParams":
    """A request's sampling in vLLM's words; the output comes once, when it is finished."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    return SamplingParams(
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
        structured_outputs=None if request.regex is None else StructuredOutputsParams(regex=request.regex),
        logprobs=request.logprobs or None,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _completion(output: "RequestOutput", prompt: list[int]) -> Completion:
    answer = output.outputs[0]
    if answer.finish_reason not in ("stop", "length"):
        raise EngineError(f"vLLM ended the request with {answer.finish_reason}", retriable=True)
    finish: FinishReason = "stop" if answer.finish_reason == "stop" else "length"
    return Completion(
        answer.text,
        finish,
        len(prompt),
        len(answer.token_ids),
        output.num_cached_tokens or 0,
        tuple(answer.token_ids),
        tuple(prompt),
        _logprobs(answer),
    )


def _logprobs(answer: "CompletionOutput") -> tuple[TokenLogprobs, ...]:
    """Empty if the request asked for none. What the grammar forbids is left out."""
    found = []
    for token, places in zip(answer.token_ids, answer.logprobs or (), strict=False):
        own = places[token]
        others = tuple(
            (one.decoded_token or "", one.logprob)
            for other, one in places.items()
            if other != token and one.logprob > LOGPROB_MIN
        )
        found.append(TokenLogprobs(own.decoded_token or "", own.logprob, others))
    return tuple(found)
