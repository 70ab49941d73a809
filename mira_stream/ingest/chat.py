"""Messages as found in corpora (OpenAI's chat format and its relatives), made into ours.

Call ids (`id`, `tool_call_id`) and other keys that a judge does not read are left out; `ref` leads to the row.
"""

from typing import Any

import msgspec
from msgspec import Struct

from mira_stream.errors import DocumentError
from mira_stream.messages import Message, ToolCall


class _Piece(Struct):
    type: str = "text"
    text: str | None = None


class _Function(Struct):
    name: str
    arguments: Any = None


class _Call(Struct):
    function: _Function | None = None
    name: str | None = None
    arguments: Any = None


class _Message(Struct):
    role: str
    content: str | list[_Piece] | None = None
    name: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None


def normalise(value: object) -> list[Message]:
    """`value` is the list of messages. Raises DocumentError(invalid_document) with the place of what is wrong."""
    try:
        found = msgspec.convert(value, list[_Message])
    except msgspec.ValidationError as error:
        raise DocumentError("invalid_document", f"messages: {error}") from None
    return [_message(number, message) for number, message in enumerate(found)]


def _message(number: int, message: _Message) -> Message:
    calls = [_call(number, call) for call in message.tool_calls or []]
    if message.function_call is not None:
        calls.append(_function(message.function_call))
    return Message(
        role=message.role, content=_content(number, message.content), name=message.name or None, tool_calls=calls
    )


def _content(number: int, content: str | list[_Piece] | None) -> str | None:
    if content is None or isinstance(content, str):
        return content
    for piece in content:
        if piece.type != "text" or piece.text is None:
            raise DocumentError("invalid_document", f"messages[{number}].content: a part of type {piece.type!r}")
    return "\n".join(piece.text or "" for piece in content)


def _call(number: int, call: _Call) -> ToolCall:
    if call.function is not None:
        return _function(call.function)
    if call.name is None:
        raise DocumentError("invalid_document", f"messages[{number}].tool_calls: a call without a name")
    return _function(_Function(call.name, call.arguments))


def _function(function: _Function) -> ToolCall:
    """Arguments that are text stay as the agent wrote them, valid JSON or not."""
    arguments = function.arguments
    if arguments is None:
        return ToolCall(name=function.name)
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return ToolCall(name=function.name, arguments=text)
