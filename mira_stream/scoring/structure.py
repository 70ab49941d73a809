"""A cheap check that a document has the form its source group judges. Pure."""

import re
from typing import Final

from mira_stream.errors import DocumentError
from mira_stream.messages import Document, Message
from mira_stream.sections import Family

ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function", "environment", "observation"})
BINARY_SHARE_MAX: Final = 0.1
CHECKED_CHARACTERS: Final = 4096
_UNREADABLE: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\ufffd]")
_CHAT_OPENINGS: Final = ('[{"role"', '[{"from"', '{"messages"', '{"conversations"')


def check_structure(document: Document, family: Family) -> None:
    """Raises DocumentError(wrong_format). Which of text, messages and parts it must have, `render` checks."""
    if family == "agent":
        _check_messages(document.messages or [])
    elif family == "text":
        _check_text(document.text or "")
    elif document.parts is not None:
        _check_text(document.parts.question + document.parts.answer)


def _check_messages(messages: list[Message]) -> None:
    for number, message in enumerate(messages):
        if message.role not in ROLES:
            raise DocumentError("wrong_format", f"message {number} has the unknown role {message.role[:40]!r}")
        if any(not call.name for call in message.tool_calls):
            raise DocumentError("wrong_format", f"message {number} calls a tool without a name")
    if not any(message.role == "assistant" and (message.content or message.tool_calls) for message in messages):
        raise DocumentError("wrong_format", "no turn of an assistant")


def _check_text(text: str) -> None:
    start = text[:CHECKED_CHARACTERS]
    unreadable = len(_UNREADABLE.findall(start))
    if unreadable > BINARY_SHARE_MAX * len(start):
        raise DocumentError("wrong_format", f"{unreadable} of the first {len(start)} characters are no text")
    if "".join(start[:80].split()).startswith(_CHAT_OPENINGS):
        raise DocumentError("wrong_format", "a conversation in JSON, not a text")
