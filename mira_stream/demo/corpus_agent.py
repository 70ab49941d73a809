"""Repair episodes of two scripted agents as documents, and their outcomes apart: what no judge ever sees."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from mira_stream.demo.episodes.agent import Player
from mira_stream.demo.episodes.bank import TASKS
from mira_stream.demo.episodes.mutate import mutants
from mira_stream.demo.episodes.sandbox import Check, check, write_test
from mira_stream.demo.episodes.traits import Agent, draw_traits
from mira_stream.errors import UsageError
from mira_stream.messages import Document

SOURCES: Final[dict[str, Agent]] = {"agent_careful": "careful", "agent_hasty": "hasty"}
UNBOUNDED: Final = 1_000_000
"""More episodes than anybody asks for; they are made one by one."""


class Outcome(Struct, frozen=True, kw_only=True):
    """How an episode really ended. `visible` and `hidden` are (passed, all); `solved`: all hidden tests pass."""

    id: str
    source: str
    function: str
    mutation: str
    fault: str
    visible: tuple[int, int]
    hidden: tuple[int, int]
    solved: bool
    repair: str
    deeds: list[str]


class Episode(NamedTuple):
    document: Document
    outcome: Outcome


def episodes(source: str, count: int, seed: int = 0) -> Iterator[Episode]:
    """`count` distinct episodes; the first n are the same whatever the count. Raises UsageError for another source."""
    if source not in SOURCES:
        raise UsageError("agent_source_unknown", f"no agent source {source!r}", f"use one of {', '.join(SOURCES)}")
    numbers: Counter[str] = Counter()
    seen: set[bytes] = set()
    draw = 0
    while len(seen) < count:
        episode = _episode(source, Random(f"{source}/{seed}/{draw}"), numbers)
        draw += 1
        content = msgspec.json.encode(episode.document.messages)
        if content not in seen:
            seen.add(content)
            yield episode


def documents(source: str, count: int, seed: int = 0) -> Iterator[Document]:
    """The documents of `episodes`."""
    return (episode.document for episode in episodes(source, count, seed))


def outcomes(source: str, count: int, seed: int = 0) -> Iterator[Outcome]:
    """The outcomes of `episodes`, in the same order."""
    return (episode.outcome for episode in episodes(source, count, seed))


def write_outcomes(
    directory: Path, source: str, count: int, wanted: Callable[[str], bool] = lambda _: True, seed: int = 0
) -> Path:
    """Write `directory`/<source>.jsonl: one outcome a line for the first `count` wanted documents of a source."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{source}.jsonl"
    found = (episode.outcome for episode in episodes(source, UNBOUNDED, seed) if wanted(episode.outcome.id))
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(b"".join(msgspec.json.encode(outcome) + b"\n" for outcome in islice(found, count)))
    os.replace(unfinished, path)
    return path


def _episode(source: str, random: Random, numbers: Counter[str]) -> Episode:
    task = random.choice(TASKS)
    mutant = random.choice(mutants(task))
    traits = draw_traits(random, SOURCES[source])
    played = Player(task, mutant, traits, random).play()
    place = f"{source}/{task.name}/{mutant.name}"
    document_id = f"{place}/{numbers[place]}"
    numbers[place] += 1
    visible = [check(played.code, write_test(task.code, call)) for call in task.visible]
    hidden = [check(played.code, write_test(task.code, call)) for call in task.hidden]
    outcome = Outcome(
        id=document_id,
        source=source,
        function=task.name,
        mutation=mutant.name,
        fault=mutant.kind,
        visible=_passed(visible),
        hidden=_passed(hidden),
        solved=all(item.status == "pass" for item in [*visible, *hidden]),
        repair=traits.repair,
        deeds=sorted(played.deeds),
    )
    return Episode(Document(id=document_id, source=source, messages=played.messages), outcome)


def _passed(checks: list[Check]) -> tuple[int, int]:
    return sum(item.status == "pass" for item in checks), len(checks)
