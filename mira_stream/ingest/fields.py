"""Columns of a row: values are Python's, or raw JSON that is decoded only where it is needed."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from mira_stream.errors import DocumentError

Fields = dict[str, object]

NESTING_MAX: Final = 100
"""Values with more brackets than this must decode with as many levels to spare, for the readers of the log."""
SECONDS_MAX: Final = 10**11
"""Times below are seconds since 1970, others milliseconds (as seconds it would be the year 5138)."""

_row: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any: Final = msgspec.json.Decoder()


def decode_row(line: bytes) -> Fields:
    """The columns of a JSON line, undecoded. Raises DocumentError(invalid_utf8, invalid_json, invalid_document)."""
    try:
        line.decode()
        return dict(_row.decode(line))
    except UnicodeDecodeError as error:
        raise DocumentError("invalid_utf8", f"byte {error.start}: {error.reason}") from None
    except msgspec.ValidationError as error:
        raise DocumentError("invalid_document", f"a row must be a JSON object: {error}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise DocumentError("invalid_json", str(error)) from None


def take(fields: Fields, path: str) -> object:
    """Remove a column, or what a dotted path leads to, and return its decoded value; None if there is none."""
    if path in fields:
        return plain(fields.pop(path))
    head, dot, rest = path.partition(".")
    if not dot or head not in fields:
        return None
    inner = fields[head]
    if isinstance(inner, msgspec.Raw):
        try:
            inner = dict(_row.decode(inner))
        except msgspec.ValidationError:
            return None
    if not isinstance(inner, dict):
        return None
    remaining = dict(inner)
    value = take(remaining, rest)
    if value is not None:
        fields[head] = remaining
    return value


def plain(value: object) -> object:
    """The value decoded. Raises DocumentError(invalid_json)."""
    if not isinstance(value, msgspec.Raw):
        return value
    raw = memoryview(value)
    try:
        if raw.nbytes > 2 * NESTING_MAX and raw[0] in b"[{":
            _check_depth(raw.tobytes())
        return _any.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DocumentError("invalid_json", str(error)) from None


def _check_depth(raw: bytes) -> None:
    if raw.count(b"[") + raw.count(b"{") > NESTING_MAX:
        _any.decode(b"[" * NESTING_MAX + raw + b"]" * NESTING_MAX)


def check(fields: Fields) -> None:
    """Raise DocumentError(invalid_json) if a column that is passed on undecoded could not be decoded later."""
    for value in fields.values():
        if isinstance(value, dict):
            check(value)
        else:
            plain(value)


def integer(value: object, column: str) -> int | None:
    """Raises DocumentError(invalid_document) for what is no whole number >= 0."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise DocumentError("invalid_document", f"{column}: not a whole number of at least 0")
    return value


def milliseconds(value: object, column: str) -> int | None:
    """A time as milliseconds since 1970: from a number, ISO 8601 text or a timestamp (UTC if no zone is said)."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise DocumentError("invalid_document", f"{column}: not a time as ISO 8601 has it") from None
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000
    elif isinstance(value, int | float) and not isinstance(value, bool):
        value = value * 1000 if abs(value) < SECONDS_MAX else value
    else:
        raise DocumentError("invalid_document", f"{column}: not a time")
    if not 0 <= value < 2**53:
        raise DocumentError("invalid_document", f"{column}: a time before 1970 or out of range")
    return int(value)
