"""The columns of the exported tables, as plain names and types."""

from collections.abc import Mapping
from typing import Final, Literal

from mira_stream.messages import SLOTS

ColumnType = Literal["string", "int64", "float64", "bool", "strings", "floats"]
"""`strings` and `floats` are lists; every column may hold nulls."""
Schema = Mapping[str, ColumnType]

SCORES: Final[Schema] = {
    "id": "string",
    "source": "string",
    "group": "string",
    "origin_topic": "string",
    "origin_partition": "int64",
    "origin_offset": "int64",
    "card_partition": "int64",
    "card_offset": "int64",
    "lineage": "string",
    "mask": "string",
    "epoch_of": "string",
    "epoch": "int64",
    "policy": "int64",
    "decision": "string",
    "selected": "bool",
    "reason": "string",
    "quality": "float64",
    **dict.fromkeys(SLOTS, "float64"),
    "overall": "float64",
    "recommendation": "string",
    "domain_tag": "string",
    "brief": "string",
    "tokens": "int64",
    "event_time_ms": "int64",
}
"""scores/<source>/: every decision, kept or not."""

CONTENT: Final[Schema] = {
    "text": "string",
    "messages": "string",
    "parts": "string",
    "meta": "string",
    "content_error": "string",
}
"""What kept/ has besides: `messages`, `parts` and `meta` are JSON; `content_error` says why content is missing."""

KEPT: Final[Schema] = {**SCORES, **CONTENT}
"""kept/<source>/: the selected documents with their content."""

EPOCHS: Final[Schema] = {
    "epoch_of": "string",
    "group": "string",
    "lineage": "string",
    "mask": "string",
    "epoch": "int64",
    "cause": "string",
    "partition": "int64",
    "offset": "int64",
    "timestamp_ms": "int64",
    "first_offset": "int64",
    "policy": "int64",
    "basis": "string",
    "n": "int64",
    "weight": "float64",
    "target": "float64",
    "target_corrected": "float64",
    "keep": "float64",
    "keep_tie_fraction": "float64",
    "drop": "float64",
    "drop_tie_fraction": "float64",
}
"""epochs.parquet: the thresholds that were in force; `partition`, `offset`, `timestamp_ms` of the epoch's record."""

WINDOWS: Final[Schema] = {
    "source": "string",
    "group": "string",
    "lineage": "string",
    "mask": "string",
    "start_ms": "int64",
    "end_ms": "int64",
    "revision": "int64",
    "documents": "int64",
    "tokens": "int64",
    "keep": "int64",
    "downsample": "int64",
    "drop": "int64",
    "selected_documents": "int64",
    "selected_tokens": "int64",
    **{f"quality_{name}": "float64" for name in ("mean", "p05", "p25", "p50", "p75", "p95")},
    **{f"{slot}_mean": "float64" for slot in SLOTS},
    **{f"{slot}_nulls": "int64" for slot in SLOTS},
    "recommendation_agreement": "float64",
    "ks_d": "float64",
    "w1": "float64",
    "drifted": "bool",
    "late": "int64",
    "too_late": "int64",
    "next_offset": "int64",
    "partition": "int64",
    "offset": "int64",
    "timestamp_ms": "int64",
}
"""windows.parquet: every revision of every closed window; of (source, lineage, start_ms) the highest one counts."""
