"""Any OpenAI-compatible chat endpoint as an engine: a remote `vllm serve`, or a teacher."""

import asyncio
import os
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import openai
from openai.types.chat import ChatCompletion
from openai.types.chat.chat_completion import Choice

from mira_stream.config import Project
from mira_stream.errors import ConfigError, DependencyError, EngineError
from mira_stream.openai_engine.endpoints import Endpoint, Endpoints
from mira_stream.render import Offsets
from mira_stream.scorecard import TokenLogprobs
from mira_stream.scoring.engine import Completion, FinishReason, Request, RequestRefused
from mira_stream.scoring.tokenizer import BYTES_BASIS, StudentTokenizer, tokenize_bytes

START_S: Final = 10.0
BUSY: Final = frozenset({408, 409, 425, 429})
REFUSED: Final = frozenset({400, 413, 422})
NOT_IMPLEMENTED: Final = 501


class OpenAIEngine:
    """Keeps the promises of `Engine` over HTTP. Its own retries are off and redirects are not followed.

    `vllm_fields`: also send what only vLLM servers know (regex, thinking off, token ids); leave it off for a
    teacher elsewhere. `student`: the folder whose tokenizer counts and cuts, if there is one. `urls_key`: what errors
    call the place in mira.toml that names the URLs.
    """

    def __init__(
        self,
        base_urls: list[str],
        model: str,
        *,
        api_key: str = "",
        timeout_s: float = 120.0,
        vllm_fields: bool = True,
        student: Path | None = None,
        urls_key: str = "base_urls of the group",
    ) -> None:
        self._endpoints = Endpoints(base_urls)
        self._model = model
        self._api_key = api_key or "none"
        self._timeout_s = timeout_s
        self._vllm_fields = vllm_fields
        self._urls_key = urls_key
        self._tokenizer = StudentTokenizer(student) if student is not None else None
        self._clients: dict[str, openai.AsyncOpenAI] = {}

    @classmethod
    def for_group(cls, project: Project, group: str) -> "OpenAIEngine":
        """As mira.toml says. Raises ConfigError for a wrong URL, a missing key or an unreadable tokenizer."""
        settings = project.settings.groups[group]
        if settings.mode == "head":
            raise ConfigError(
                "mode_invalid", f"group {group}: a head is served in this process", 'set engine = "vllm" for the group'
            )
        student = project.student_path(group)
        return cls(
            settings.base_urls,
            settings.model or group,
            api_key=api_key(settings.api_key_env),
            timeout_s=settings.request_timeout_s,
            urls_key=f"base_urls of [groups.{group}]",
            student=student if (student / "tokenizer.json").is_file() else None,
        )

    async def start(self) -> None:
        """Raises DependencyError when no endpoint answers, ConfigError when none serves the model."""
        served = await asyncio.gather(*(self._models(endpoint) for endpoint in self._endpoints.all))
        answers = [models for models in served if models is not None]
        if not answers:
            urls = ", ".join(endpoint.url for endpoint in self._endpoints.all)
            fix = f"start the server, or correct {self._urls_key}"
            raise DependencyError("endpoint_down", f"no answer from {urls}", fix)
        if all(models and self._model not in models for models in answers):
            names = ", ".join(sorted({name for models in answers for name in models})[:10])
            raise ConfigError("endpoint_model", f"{self._model!r} is not served, only {names}", "correct `model`")

    async def _models(self, endpoint: Endpoint) -> list[str] | None:
        """Names of the served models; empty if the server does not tell, None if it does not answer."""
        try:
            page = await self._client(endpoint).models.list(timeout=START_S)
            names = [model.id for model in page.data or []]
        except openai.APIStatusError as error:
            if error.status_code in (401, 403) or 300 <= error.status_code < 400:
                self._give_up(endpoint, error)
            names = []
            if error.status_code >= 500 and error.status_code != NOT_IMPLEMENTED:  # that one answers, and lists none
                self._endpoints.failed(endpoint, _status(endpoint, error))
                return None
        except openai.APIConnectionError as error:
            self._endpoints.failed(endpoint, _no_answer(endpoint, error))
            return None
        except (openai.OpenAIError, AttributeError, TypeError):
            names = []
        self._endpoints.answered(endpoint)
        return names

    async def stop(self) -> None:
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()

    async def generate(self, request: Request) -> Completion:
        """One endpoint after the other, until one answers or refuses."""
        tried: set[str] = set()
        failure, retry_after_s = f"{self._endpoints.last_failure}; all endpoints rest after failures", None
        while True:
            with self._endpoints.use(tried) as endpoint:
                if endpoint is None:
                    raise EngineError(failure, retriable=True, retry_after_s=retry_after_s, sent=bool(tried))
                tried.add(endpoint.url)
                try:
                    completion = await self._ask(endpoint, request)
                except EngineError as error:
                    if not error.retriable:
                        raise
                    failure, retry_after_s = str(error), error.retry_after_s
                    continue
                self._endpoints.answered(endpoint)
                return completion

    async def _ask(self, endpoint: Endpoint, request: Request) -> Completion:
        try:
            async with asyncio.timeout(self._timeout_s):
                # What chat.completions.create does, without its walk over every message (a quarter of the time).
                posted = await self._client(endpoint).post(
                    "/chat/completions",
                    cast_to=ChatCompletion,
                    body=self.body(request),
                    options={"headers": {"X-Request-Id": request.request_id}} if self._vllm_fields else {},
                )
        except (TimeoutError, openai.APIConnectionError) as error:
            said = _no_answer(endpoint, error)
            self._endpoints.failed(endpoint, said)
            raise EngineError(said, retriable=True) from None
        except openai.APIStatusError as error:
            self._explain(endpoint, error)
        except (openai.OpenAIError, ValueError) as error:  # a 200 whose body is no JSON
            raise EngineError(f"{endpoint.url}: unreadable answer: {error}", retriable=True) from None
        answer = cast("ChatCompletion | str", posted)
        if isinstance(answer, str):  # a page of text or HTML, whatever was to be cast to
            raise EngineError(
                f"{endpoint.url}: no chat completion but {answer[:60]!r}: see {self._urls_key}, it often ends in /v1",
                retriable=True,
            )
        return _completion(endpoint, answer)

    def _explain(self, endpoint: Endpoint, error: openai.APIStatusError) -> NoReturn:
        said = _status(endpoint, error)
        if error.status_code in REFUSED:
            raise RequestRefused(said) from None
        if error.status_code in BUSY or error.status_code == 503:
            raise EngineError(said, retriable=True, retry_after_s=retry_after_s(error.response.headers)) from None
        if error.status_code >= 500:
            self._endpoints.failed(endpoint, said)
            raise EngineError(said, retriable=True) from None
        self._give_up(endpoint, error)

    def _give_up(self, endpoint: Endpoint, error: openai.APIStatusError) -> NoReturn:
        raise DependencyError(
            "endpoint_refuses",
            _status(endpoint, error),
            f"correct {self._urls_key}, model or api_key_env; redirects are not followed",
        ) from None

    def body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": request.messages,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
        }
        if request.logprobs:
            body |= {"logprobs": True, "top_logprobs": request.logprobs}
        if self._vllm_fields:
            body |= {"chat_template_kwargs": {"enable_thinking": False}, "return_token_ids": True}
            if request.regex is not None:
                body["structured_outputs"] = {"regex": request.regex}
        return body

    def _client(self, endpoint: Endpoint) -> openai.AsyncOpenAI:
        client = self._clients.get(endpoint.url)
        if client is None:
            client = openai.AsyncOpenAI(
                base_url=endpoint.url,
                api_key=self._api_key,
                timeout=self._timeout_s,
                max_retries=0,
                http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False, timeout=self._timeout_s),
            )
            self._clients[endpoint.url] = client
        return client

    def tokenize(self, text: str) -> Offsets:
        return tokenize_bytes(text) if self._tokenizer is None else self._tokenizer.tokenize(text)

    @property
    def tokens_basis(self) -> str:
        return BYTES_BASIS if self._tokenizer is None else self._tokenizer.basis

    @property
    def special_tokens(self) -> tuple[str, ...]:
        return () if self._tokenizer is None else self._tokenizer.special_tokens

    @property
    def alive(self) -> bool:
        return True

    @property
    def serves(self) -> bool:
        """Whether one endpoint answered when it was last asked."""
        return any(endpoint.failures_in_a_row == 0 for endpoint in self._endpoints.all)


def _status(endpoint: Endpoint, error: openai.APIStatusError) -> str:
    return f"{endpoint.url}: HTTP {error.status_code}: {error.message[:500]}"


def _no_answer(endpoint: Endpoint, error: Exception) -> str:
    return f"{endpoint.url}: {type(error).__name__} {error}"


def _completion(endpoint: Endpoint, answer: ChatCompletion) -> Completion:
    """Raises EngineError(retriable) for an answer that is JSON but no chat completion."""
    try:
        choice, usage = answer.choices[0], answer.usage
        text = choice.message.content or ""
        reason = choice.finish_reason
    except (AttributeError, IndexError, TypeError) as error:
        raise EngineError(f"{endpoint.url}: no chat completion in the answer: {error}", retriable=True) from None
    finish: FinishReason = "stop" if reason == "stop" else "length" if reason == "length" else "abort"
    details = usage.prompt_tokens_details if usage is not None else None
    return Completion(
        text,
        finish,
        usage.prompt_tokens if usage is not None else 0,
        usage.completion_tokens if usage is not None else 0,
        (details.cached_tokens or 0) if details is not None else 0,
        _ids(choice, "token_ids"),
        _ids(answer, "prompt_token_ids"),
        _logprobs(choice),
    )


def _logprobs(choice: Choice) -> tuple[TokenLogprobs, ...]:
    """Empty where an endpoint gives none, or none that can be read: the judge sees what is missing."""
    found = []
    try:
        for one in (choice.logprobs.content if choice.logprobs else None) or ():
            others = tuple((top.token, float(top.logprob)) for top in one.top_logprobs or () if top.token != one.token)
            found.append(TokenLogprobs(one.token, float(one.logprob), others))
    except (AttributeError, TypeError, ValueError):
        return ()
    return tuple(found)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header; None without one, or for a date (its clock is not ours)."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < inf else None


def _ids(answer: object, name: str) -> tuple[int, ...]:
    """Token ids are an extension of vLLM's; absent elsewhere."""
    ids = getattr(answer, name, None)
    return tuple(ids) if isinstance(ids, list) else ()


def api_key(variable: str) -> str:
    """The key in an environment variable; none if no variable is named. Raises ConfigError if it is empty."""
    if not variable:
        return ""
    key = os.environ.get(variable, "")
    if not key:
        raise ConfigError("api_key_missing", f"the environment variable {variable} is empty", "export the key in it")
    return key
