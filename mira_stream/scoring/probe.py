"""Known-answer probe: does this student, behind this template, answer to this rubric? Asked once, at start."""

from typing import Final

from mira_stream.config import Family, GroupSection, Project
from mira_stream.errors import CheckFailed, ConfigError, DependencyError, EngineError
from mira_stream.messages import Document, Message, Parts, ToolCall
from mira_stream.prompt import load_prompt
from mira_stream.render import cut, neutralise, render
from mira_stream.rubric.anchors import Rubric, load_rubric
from mira_stream.scorecard import READ_MIN, check_mode, parse, read_justifications
from mira_stream.scoring.engine import Completion, Engine, Request, RequestRefused
from mira_stream.scoring.judge import LOGPROBS
from mira_stream.scoring.origin import NOT_TAUGHT, check_origin

SLACK_TOKENS: Final = 8
"""A view is cut by tokens, but its pieces may fall into a few more tokens where they are joined."""
_CODE: Final = '''"""Counts words."""


def count_words(text: str) -> dict[str, int]:
    """How often each word occurs in `text`; case does not matter."""
    counts: dict[str, int] = {}
    for word in text.lower().split():
        counts[word] = counts.get(word, 0) + 1
    return counts
'''
KNOWN: Final[dict[Family, Document]] = {
    "text": Document(id="probe", source="probe", text=_CODE),
    "qa": Document(
        id="probe",
        source="probe",
        parts=Parts(question="How do I count the words of a text in Python?", answer=f"Like this:\n\n{_CODE}"),
    ),
    "agent": Document(
        id="probe",
        source="probe",
        messages=[
            Message(role="user", content="count_words counts `A` and `a` apart. Please fix it."),
            Message(
                role="assistant",
                content="I read the file.",
                tool_calls=[ToolCall(name="read", arguments='{"path": "words.py"}')],
            ),
            Message(role="tool", name="read", content=_CODE.replace(".lower()", "")),
            Message(role="assistant", content="The text must be lowered before it is split. Done, and the tests pass."),
        ],
    ),
}
"""A small well-formed document of each family."""


async def probe(project: Project, group: str, engine: Engine) -> None:
    """Ask the started engine about a known document, without constraining its reply.

    Raises ConfigError (what check_origin raises, context too small, no log-probabilities), CheckFailed when the
    fifteen lines (probe_failed) or the justifications do not come, DependencyError when the engine fails.
    """
    settings = project.settings.groups[group]
    check_mode(settings.layout, settings.mode)
    rubric = load_rubric(project.rubric_path(group))
    check_origin(project, group, rubric)
    prompt = load_prompt(project.prompts_path(group), rubric)
    text = neutralise(render(KNOWN[settings.family], settings.family), engine.special_tokens)
    budget = settings.document_tokens_max
    view = cut(text, engine.tokenize, budget, budget, "head").text
    logprobs = LOGPROBS if settings.mode == "expected" else 0
    request = Request(f"probe-{group}", prompt.messages(view), settings.reply_tokens_max, logprobs=logprobs)
    completion = await _ask(engine, request, group)
    _check_room(completion, len(engine.tokenize(view)), project, group, engine.tokens_basis)
    reading = parse(completion.text, settings.layout, rubric.names)
    if not reading.complete:
        raise CheckFailed(
            "probe_failed",
            f"group {group}: {reading.read} of 15 scores read from the answer to a known document,"
            f" which begins {completion.text[:200]!r}",
            "template, rubric and student do not fit together: use the prompts and the rubric it was trained with",
        )
    if settings.mode == "rationale":
        _check_justified(completion, group, settings, rubric)
    if settings.mode == "expected" and not completion.logprobs:
        raise ConfigError(
            "logprobs_missing",
            f"group {group}: the endpoint gives no log-probabilities, and mode expected is made of them",
            'set mode = "scores", or serve the student where logprobs and top_logprobs are answered',
        )


def _check_justified(completion: Completion, group: str, settings: GroupSection, rubric: Rubric) -> None:
    """A student that was never taught to justify its scores would only be made to babble by the grammar."""
    found = read_justifications(completion.text, settings.layout, rubric.names)
    count = sum(text is not None for text in found)
    if count >= READ_MIN:
        return
    if completion.finish_reason == "length":
        raise ConfigError(
            "reply_too_short",
            f"group {group}: the answer to a known document is cut off at reply_tokens_max ="
            f" {settings.reply_tokens_max}, with {count} of 15 justifications",
            "raise reply_tokens_max and context_tokens_max of the group",
        )
    raise CheckFailed(
        "justifications_missing",
        f"group {group}: {count} of 15 justifications in the answer to a known document, and mode is rationale",
        NOT_TAUGHT,
    )


async def _ask(engine: Engine, request: Request, group: str) -> Completion:
    try:
        return await engine.generate(request)
    except RequestRefused as error:
        raise ConfigError("context_too_small", f"group {group}: {error}", _ROOM_FIX) from None
    except EngineError as error:
        raise DependencyError("engine_down", f"group {group}: {error}", "read its log and start again") from None


_ROOM_FIX: Final = "raise context_tokens_max, or lower document_tokens_max, reply_tokens_max or the prompt"


def _check_room(completion: Completion, view_tokens: int, project: Project, group: str, basis: str) -> None:
    """Prompt, largest view and reply must fit into the context together."""
    settings = project.settings.groups[group]
    if not completion.prompt_tokens or not basis.startswith("tokenizer:"):
        return
    around = completion.prompt_tokens - view_tokens
    needed = around + settings.document_tokens_max + SLACK_TOKENS + settings.reply_tokens_max
    if needed > settings.context_tokens_max:
        raise ConfigError(
            "context_too_small",
            f"group {group}: prompt {around} + document {settings.document_tokens_max} + {SLACK_TOKENS} + reply"
            f" {settings.reply_tokens_max} = {needed} tokens, context_tokens_max is {settings.context_tokens_max}",
            _ROOM_FIX,
        )
