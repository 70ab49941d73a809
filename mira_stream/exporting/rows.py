"""Decisions and contents as columns."""

from collections.abc import Sequence
from typing import Final

from mira_stream.exporting.contents import Content
from mira_stream.exporting.ports import Columns
from mira_stream.messages import SLOTS, Decision

PLAIN: Final = (
    "id",
    "source",
    "group",
    "lineage",
    "mask",
    "epoch_of",
    "epoch",
    "policy",
    "decision",
    "selected",
    "reason",
    "quality",
    "overall",
    "recommendation",
    "domain_tag",
    "brief",
    "tokens",
    "event_time_ms",
)


def score_columns(decisions: Sequence[Decision]) -> dict[str, Sequence[object]]:
    """The columns of scores/."""
    columns: dict[str, Sequence[object]] = {name: [getattr(decision, name) for decision in decisions] for name in PLAIN}
    columns["origin_topic"] = [decision.origin.topic for decision in decisions]
    columns["origin_partition"] = [decision.origin.partition for decision in decisions]
    columns["origin_offset"] = [decision.origin.offset for decision in decisions]
    columns["card_partition"] = [decision.card.partition for decision in decisions]
    columns["card_offset"] = [decision.card.offset for decision in decisions]
    for number, slot in enumerate(SLOTS):
        columns[slot] = [decision.scores[number] for decision in decisions]
    return columns


def kept_columns(rows: Sequence[tuple[Decision, Content]]) -> Columns:
    """The columns of kept/."""
    columns = score_columns([decision for decision, _ in rows])
    columns["text"] = [content.text for _, content in rows]
    columns["messages"] = [content.messages for _, content in rows]
    columns["parts"] = [content.parts for _, content in rows]
    columns["meta"] = [content.meta for _, content in rows]
    columns["content_error"] = [content.error for _, content in rows]
    return columns
