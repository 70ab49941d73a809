"""Rows become documents: columns, content of three families, and every way in which a row can be none."""

from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.errors import DocumentError
from mira_stream.ingest.content import id_of, id_of_content
from mira_stream.ingest.fields import decode_row
from mira_stream.ingest.mapping import RowMapping
from mira_stream.messages import Document, Message, Parts, Ref, ToolCall, decoder, encode
from mira_stream.sections import Family, SourceSection

REF = Ref(uri="corpus/a.jsonl", etag="9-abc", byte=17)


def mapping(family: Family = "text", limit: int = 900_000, **columns: Any) -> RowMapping:
    return RowMapping("web", SourceSection(group="g", **columns), family, limit)


def document(row: object, family: Family = "text", **columns: Any) -> Document:
    """Through JSON, onto the wire and back: what a reader of the log gets."""
    made = mapping(family, **columns).document(decode_row(msgspec.json.encode(row)), REF)
    return decoder(Document).decode(encode(made))


def refused(row: object, family: Family = "text", **columns: Any) -> str:
    line = row if isinstance(row, bytes) else msgspec.json.encode(row)
    with pytest.raises(DocumentError) as error:
        mapping(family, **columns).document(decode_row(line), REF)
    return error.value.reason


def test_text_with_everything_else_as_meta() -> None:
    made = document({"id": "x", "text": "hällo", "url": "u", "nested": {"a": [1, None]}})
    assert made == Document(
        id="x",
        source="web",
        text="hällo",
        ref=REF,
        sha256=sha256("hällo".encode()).hexdigest(),
        bytes=6,
        meta={"url": "u", "nested": {"a": [1, None]}},
    )


def test_meta_keeps_the_very_bytes_of_numbers() -> None:
    line = b'{"text":"x","n":1.50,"big":123456789012345678901234567890,"e":1e3}'
    value = encode(mapping().document(decode_row(line), REF))
    assert b'"n":1.50' in value
    assert b'"big":123456789012345678901234567890' in value
    assert b'"e":1e3' in value


def test_columns_by_name_and_dotted_path() -> None:
    row = {"doc": {"body": "t", "k": 1}, "meta.uid": "flat", "n": 3.0, "when": "2024-05-01T00:00:00Z"}
    made = document(row, text="doc.body", id="meta.uid", tokens="n", event_time="when")
    assert (made.text, made.id, made.tokens, made.event_time_ms) == ("t", "flat", 3, 1_714_521_600_000)
    assert made.meta == {"doc": {"k": 1}}


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (1_714_521_600, 1_714_521_600_000),
        (1_714_521_600.25, 1_714_521_600_250),
        (1_714_521_600_123, 1_714_521_600_123),
        ("2024-05-01", 1_714_521_600_000),
        ("2024-05-01T02:00:00+02:00", 1_714_521_600_000),
        (None, None),
    ],
)
def test_times(value: object, milliseconds: int | None) -> None:
    assert document({"text": "x", "t": value}, event_time="t").event_time_ms == milliseconds


def test_parts_from_a_column_from_three_and_by_default() -> None:
    parts = Parts(question="q", think="t", answer="a")
    assert document({"parts": {"question": "q", "think": "t", "answer": "a"}}, "qa").parts == parts
    assert document({"parts": '{"question": "q", "think": "t", "answer": "a"}'}, "qa").parts == parts
    assert document({"p": "q", "r": "t", "c": "a"}, "qa", question="p", think="r", answer="c").parts == parts
    assert document({"question": "q", "answer": "a", "think": ""}, "qa").parts == Parts(question="q", answer="a")


def test_messages_as_corpora_have_them() -> None:
    row = {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "run", "arguments": '{"cmd": '}},
                    {"name": "edit", "arguments": {"path": "a.py"}},
                    {"name": "stop"},
                ],
            },
            {"role": "tool", "tool_call_id": "1", "name": "run", "content": "ok"},
            {"role": "assistant", "content": "", "function_call": {"name": "old", "arguments": "{}"}},
        ]
    }
    expected = [
        Message(role="system", content="s"),
        Message(role="user", content="a\nb"),
        Message(
            role="assistant",
            tool_calls=[
                ToolCall(name="run", arguments='{"cmd": '),
                ToolCall(name="edit", arguments='{"path":"a.py"}'),
                ToolCall(name="stop"),
            ],
        ),
        Message(role="tool", name="run", content="ok"),
        Message(role="assistant", content="", tool_calls=[ToolCall(name="old", arguments="{}")]),
    ]
    assert document(row, "agent").messages == expected
    assert document({"messages": msgspec.json.encode(row["messages"]).decode()}, "agent").messages == expected


@pytest.mark.parametrize(
    ("row", "family", "reason"),
    [
        ({}, "text", "invalid_document"),
        ({"text": None}, "text", "invalid_document"),
        ({"text": 5}, "text", "invalid_document"),
        ({"text": ""}, "text", "empty_document"),
        ({"text": " \n\t "}, "text", "empty_document"),
        ({"text": "x" * 1001}, "text", "too_large"),
        ({"text": "x", "id": {"a": 1}}, "text", "invalid_document"),
        ({"text": "x", "id": True}, "text", "invalid_document"),
        ({"text": "x", "id": "i" * 1025}, "text", "invalid_document"),
        ({"text": "x", "n": -1}, "text", "invalid_document"),
        ({"text": "x", "n": 1.5}, "text", "invalid_document"),
        ({"text": "x", "n": "many"}, "text", "invalid_document"),
        ({"text": "x", "t": "yesterday"}, "text", "invalid_document"),
        ({"text": "x", "t": [1]}, "text", "invalid_document"),
        ({"text": "x", "t": -5}, "text", "invalid_document"),
        ({"text": "x"}, "agent", "wrong_format"),
        ({"text": "x"}, "qa", "wrong_format"),
        ({"messages": [{"role": "user", "content": "x"}]}, "text", "wrong_format"),
        ({"messages": []}, "agent", "empty_document"),
        ({"messages": [{"role": "user", "content": " "}]}, "agent", "empty_document"),
        ({"messages": "no json"}, "agent", "invalid_document"),
        ({"messages": {"role": "user"}}, "agent", "invalid_document"),
        ({"messages": [{"content": "x"}]}, "agent", "invalid_document"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "agent", "invalid_document"),
        ({"messages": [{"role": "user", "tool_calls": [{"id": "1"}]}]}, "agent", "invalid_document"),
        ({"parts": {"question": "q"}}, "qa", "invalid_document"),
        ({"parts": {"question": "q", "answer": " "}}, "qa", "empty_document"),
        ({"parts": [1]}, "qa", "invalid_document"),
        ({"question": "q"}, "qa", "invalid_document"),
        ({"question": "q", "answer": 5}, "qa", "invalid_document"),
        (b"{", "text", "invalid_json"),
        (b"", "text", "invalid_json"),
        (b'{"text": "x"} {}', "text", "invalid_json"),
        (b'{"text": "\\ud800"}', "text", "invalid_json"),
        (b'{"text": "x", "n": NaN}', "text", "invalid_json"),
        (b'{"text": "x", "m": 1e400}', "text", "invalid_json"),
        (b'{"text": "x", "m": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "text", "invalid_json"),
        (b'{"text": "\xff"}', "text", "invalid_utf8"),
        (b'{"text": "x", "m": {"k": "\xff"}}', "text", "invalid_utf8"),
        (b"[1]", "text", "invalid_document"),
        (b'"text"', "text", "invalid_document"),
        (b"null", "text", "invalid_document"),
    ],
)
def test_rows_that_are_no_document(row: object, family: Family, reason: str) -> None:
    assert refused(row, family, limit=1000, tokens="n", event_time="t") == reason


def test_nul_and_odd_characters_are_text() -> None:
    assert document({"text": "a\x00b\u2028\U0001f600"}).text == "a\x00b\u2028\U0001f600"


def test_ids() -> None:
    assert document({"id": 17, "text": "x"}).id == "17"
    by_ref = document({"text": "x"}).id
    assert document({"id": "", "text": "other"}).id == document({"id": None, "text": "x"}).id == by_ref
    assert len(by_ref) == 32
    assert len({by_ref, id_of("other", REF), id_of("web", Ref(uri=REF.uri, etag=REF.etag, byte=18))}) == 3
    assert id_of("web", REF) == by_ref
    assert id_of_content("web", b"x") != id_of_content("web", b"y") != id_of_content("wex", b"y")


nested = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=8), nested, max_size=5), st.text(min_size=1).filter(str.strip))
def test_other_columns_come_through_unchanged(others: dict[str, Any], text: str) -> None:
    others = {name: value for name, value in others.items() if name not in ("id", "text")}
    made = document({**others, "text": text})
    assert (made.text, made.meta) == (text, others)
    assert made.sha256 == sha256(text.encode()).hexdigest()


@given(st.binary(max_size=60))
def test_any_bytes_are_a_document_or_refused_with_a_reason(line: bytes) -> None:
    reasons = set()
    try:
        mapping().document(decode_row(line), REF)
    except DocumentError as error:
        reasons.add(error.reason)
    assert reasons <= {"invalid_json", "invalid_utf8", "invalid_document", "empty_document"}
