"""Dead letters of the aggregator: what is said about a score card that cannot become a decision. Pure."""

from base64 import b64encode
from hashlib import sha256
from typing import Any, Final, Literal

import msgspec

from mira_stream.errors import DocumentError
from mira_stream.messages import DeadLetter, Origin, Ref, ScoreCard
from mira_stream.records import Record

STAGE: Final[Literal["aggregate"]] = "aggregate"
HEAD_BYTES_MAX: Final = 64_000
ERROR_BYTES_MAX: Final = 2_000


class _Traces(msgspec.Struct):
    """What of a broken card may still be readable."""

    id: Any = None
    source: Any = None
    origin: Any = None


def refused(record: Record, card: ScoreCard, refusal: DocumentError) -> DeadLetter:
    """The letter of a card that was read. sha256, bytes and head are those of the card: the document is at `origin`."""
    return _letter(record, refusal.reason, refusal.error, card.id, card.source, card.origin, card.ref, card.lineage)


def no_mask(card: ScoreCard, *, known: bool) -> DocumentError:
    """Why a card cannot be judged: its source has no mask at all, or (`known`) none for this lineage."""
    if known:
        return DocumentError(
            "unknown_source", f"no mask of {card.source!r} (group {card.group}) is for lineage {card.lineage}"
        )
    return DocumentError("unknown_source", f"no mask is for source {card.source!r} of group {card.group}")


def unreadable(record: Record, error: str) -> DeadLetter:
    """The letter of a card that could not be read, with what can be made out of where its document stands."""
    try:
        traces = msgspec.json.decode(record.value or b"", type=_Traces)
        origin = msgspec.convert(traces.origin, Origin | None)
    except msgspec.DecodeError:
        return _letter(record, "invalid_card", error, None, None, None, None, None)
    names = [name if isinstance(name, str) else None for name in (traces.id, traces.source)]
    return _letter(record, "invalid_card", error, names[0], names[1], origin, None, None)


def _letter(
    record: Record,
    reason: str,
    error: str,
    document_id: str | None,
    source: str | None,
    origin: Origin | None,
    ref: Ref | None,
    lineage: str | None,
) -> DeadLetter:
    card = record.value or b""
    return DeadLetter(
        stage=STAGE,
        reason=reason,
        error=error.encode()[:ERROR_BYTES_MAX].decode(errors="ignore"),
        id=document_id,
        source=source,
        origin=origin,
        ref=ref,
        sha256=sha256(card).hexdigest(),
        bytes=len(card),
        head=b64encode(card[:HEAD_BYTES_MAX]).decode(),
        lineage=lineage,
    )
