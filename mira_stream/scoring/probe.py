"""Known-answer probe: does this student, behind this template, answer to this rubric? Asked once, at start."""

from pathlib import Path
from typing import Final

from mira_stream.config import Project
from mira_stream.errors import CheckFailed, ConfigError, DependencyError, EngineError
from mira_stream.messages import Document, Message, Parts, ToolCall
from mira_stream.prompt import load_prompt
from mira_stream.render import Tokenize, cut, neutralise, render
from mira_stream.rubric.anchors import Rubric, load_rubric
from mira_stream.scorecard import OUTPUTS, READ_MIN, check_mode, parse, read_justifications, read_outputs
from mira_stream.scoring.engine import Completion, Engine, Request, RequestRefused
from mira_stream.scoring.judge import LOGPROBS
from mira_stream.scoring.origin import NOT_TAUGHT, check_origin
from mira_stream.scoring.student import student_config
from mira_stream.sections import Family, GroupSection

SLACK_TOKENS: Final = 8
"""A view is cut by tokens, but its pieces may fall into a few more tokens where they are joined."""
HEAD_TOLERANCE: Final = 0.5
"""Points that an output may lie off what it was in training: other kernels and bfloat16 move it by hundredths."""
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
    check_mode(settings.layout, settings.mode, constrained=settings.constrained)
    rubric = load_rubric(project.rubric_path(group))
    check_origin(project, group, rubric)
    prompt = load_prompt(project.prompts_path(group), rubric)
    view = known_view(settings, engine.tokenize, engine.special_tokens)
    logprobs = LOGPROBS if settings.mode == "expected" else 0
    request = Request(f"probe-{group}", prompt.messages(view), reply_room(settings), logprobs=logprobs)
    if settings.mode == "head":
        request = request._replace(outputs=len(OUTPUTS))
    completion = await _ask(engine, request, group)
    _check_room(completion, len(engine.tokenize(view)), project, group, engine.tokens_basis)
    if settings.mode == "head":
        _check_head(completion, group, project.served_path(group))
        return
    reading = parse(completion.text, settings.layout, rubric.names)
    if not reading.complete and settings.layout == "interleaved" and completion.finish_reason == "length":
        raise _too_short(group, settings, f"{reading.read} of 15 scores")
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


def known_view(settings: GroupSection, tokenize: Tokenize, special_tokens: tuple[str, ...]) -> str:
    """What the judge sees of the family's known document."""
    text = neutralise(render(KNOWN[settings.family], settings.family), special_tokens)
    return cut(text, tokenize, settings.document_tokens_max, settings.document_tokens_max, "head").text


def reply_room(settings: GroupSection) -> int:
    """Tokens that a reply may take: a head gives none."""
    return 0 if settings.mode == "head" else settings.reply_tokens_max


def _check_head(completion: Completion, group: str, student: Path) -> None:
    """A head has no words to be known by: its outputs must be those that it gave when it was trained."""
    reading = read_outputs(completion.outputs)
    if not reading.complete:
        raise CheckFailed(
            "probe_failed",
            f"group {group}: {len(completion.outputs)} outputs for a known document ({', '.join(reading.repairs)})",
            f"{len(OUTPUTS)} numbers are wanted: train it anew, mira-stream distill --head --group {group}",
        )
    known = (student_config(student).get("mira") or {}).get("known") if (student / "config.json").is_file() else None
    if known is None:
        return
    apart = max(abs(a - b) for a, b in zip(completion.outputs, known["outputs"], strict=True))
    if apart > HEAD_TOLERANCE or completion.prompt_tokens not in (0, known["prompt_tokens"]):
        raise CheckFailed(
            "probe_failed",
            f"group {group}: for a known document of {completion.prompt_tokens} prompt tokens the outputs are up to"
            f" {apart:.2f} points off those of training, where it had {known['prompt_tokens']}",
            "template, tokenizer and head do not fit together: put back the prompts and document_tokens_max it was"
            f" trained with, or train it anew: mira-stream distill --head --group {group}",
        )


def _check_justified(completion: Completion, group: str, settings: GroupSection, rubric: Rubric) -> None:
    """A student that was never taught to justify its scores would only be made to babble by the grammar."""
    found = read_justifications(completion.text, settings.layout, rubric.names)
    count = sum(text is not None for text in found)
    if count >= READ_MIN:
        return
    if completion.finish_reason == "length":
        raise _too_short(group, settings, f"{count} of 15 justifications")
    raise CheckFailed(
        "justifications_missing",
        f"group {group}: {count} of 15 justifications in the answer to a known document, and mode is rationale",
        NOT_TAUGHT,
    )


def _too_short(group: str, settings: GroupSection, had: str) -> ConfigError:
    """Also in a mode that leaves justifications out: sources that fall back to `rationale` need the room."""
    return ConfigError(
        "reply_too_short",
        f"group {group}: the answer to a known document is cut off at reply_tokens_max ="
        f" {settings.reply_tokens_max}, with {had}",
        "raise reply_tokens_max and context_tokens_max of the group",
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
    reply = reply_room(settings)
    needed = around + settings.document_tokens_max + SLACK_TOKENS + reply
    if needed > settings.context_tokens_max:
        raise ConfigError(
            "context_too_small",
            f"group {group}: prompt {around} + document {settings.document_tokens_max} + {SLACK_TOKENS} + reply"
            f" {reply} = {needed} tokens, context_tokens_max is {settings.context_tokens_max}",
            _ROOM_FIX,
        )
