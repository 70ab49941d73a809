"""Score cards, masks and policies for the tests of what decides."""

import random
from collections.abc import Sequence
from typing import Any

from mira_stream.messages import SLOTS, Mask, Origin, Policy, Prior, ScoreCard, Wire, encode
from mira_stream.records import Record
from mira_stream.selecting.policies import PolicyLog, Rules

GROUP = "text"
LINEAGE = "0123456789ab"
MEANS = [6.0] * 15


def mask(
    name: str = "m1",
    source: str = "books",
    lineage: str = LINEAGE,
    dimensions: Sequence[str] = SLOTS,
    prior: Prior | None = None,
    **more: Any,
) -> Mask:
    return Mask(
        mask=name,
        group=GROUP,
        source=source,
        lineage=lineage,
        dimensions=list(dimensions),
        means=more.pop("means", MEANS),
        trim=more.pop("trim", 0.1),
        prior=prior,
        **more,
    )


def card(number: int, scores: Sequence[float | None] | float = 7.0, source: str = "books", **more: Any) -> ScoreCard:
    fifteen: list[float | None] = [scores] * 15 if isinstance(scores, float) else list(scores)
    return ScoreCard(
        id=more.pop("id", f"doc-{number}"),
        source=source,
        group=more.pop("group", GROUP),
        origin=more.pop(
            "origin",
            Origin(
                topic="mira.documents.text",
                partition=number % 4,
                offset=number,
                timestamp_ms=1_700_000_000_000 + number,
            ),
        ),
        lineage=more.pop("lineage", LINEAGE),
        mode="scores",
        scores=fifteen,
        tokens=more.pop("tokens", 100),
        **more,
    )


def random_card(number: int, rng: random.Random, sources: Sequence[str] = ("books",), **more: Any) -> ScoreCard:
    """A document has a level, its dimensions scatter round it; now and then a score could not be read."""
    level = rng.gauss(6.0, 1.5)
    scores: list[float | None] = [
        None if rng.random() < 0.03 else float(min(10, max(1, round(level + rng.gauss(0, 1))))) for _ in SLOTS
    ]
    return card(number, scores, source=rng.choice(sources), tokens=rng.randint(1, 2_000), **more)


def policy_record(offset: int, message: Policy | Mask, key: str | None = None) -> Record:
    if key is None:
        key = f"source:{message.source}" if isinstance(message, Mask) else "*"
    return Record("mira.policy", 0, offset, 0, key.encode(), encode(message))


def policy_log(*messages: Policy | Mask) -> PolicyLog:
    """Each message at the next offset; a Policy under the key `*`."""
    log = PolicyLog()
    for offset, message in enumerate(messages):
        log.add(policy_record(offset, message))
    return log


def rules(*messages: Policy | Mask, source: str = "books", lineage: str = LINEAGE) -> Rules:
    found = policy_log(*messages).rules(GROUP, source, lineage)
    assert found is not None
    return found


def score_record(offset: int, message: Wire | bytes, partition: int = 0) -> Record:
    value = message if isinstance(message, bytes) else encode(message)
    return Record("mira.scores", partition, offset, 0, GROUP.encode(), value)
