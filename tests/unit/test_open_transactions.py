"""Which open transactions hang: what a coordinator says counts, that none says anything does not. And who is asked
before one is ended."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from mira_stream.cli import transactions as command
from mira_stream.cli.main import app
from mira_stream.errors import DependencyError
from mira_stream.kafka import transactions
from mira_stream.kafka.transactions import Known, Open, Seen, Standing, Transactions
from mira_stream.records import TopicPartition

AT = Open(TopicPartition("m.progress", 1), 746, 2, 6, 8, 1_000_000)
ELSEWHERE = frozenset({TopicPartition("m.progress", 0)})
HERE = frozenset({AT.partition})
GONE = Known("id", "Empty", 20_000, frozenset())


def seen(*open_: Open, known: Known | None, after_s: float) -> Seen:
    by_id = {} if known is None else {one.producer_id: known for one in open_}
    return Seen(list(open_), by_id, 20_000, AT.last_ms + int(after_s * 1000))


@pytest.mark.parametrize(
    ("known", "after_s", "standing"),
    [
        (GONE, 100.1, "hangs"),
        (GONE, 100, "not owned"),
        (GONE, -3600, "not owned"),
        (Known("id", "Empty", 900_000, frozenset()), 1860, "not owned"),
        (Known("id", "Empty", 900_000, frozenset()), 1861, "hangs"),
        (Known("id", "Empty", 1, frozenset()), 99, "not owned"),
        (Known("id", "CompleteAbort", 20_000, HERE), 101, "hangs"),
        (Known("id", "Ongoing", 20_000, ELSEWHERE), 101, "hangs"),
        (Known("id", "Ongoing", 20_000, HERE), 10_000, "under way"),
        (Known("id", "PrepareCommit", 20_000, HERE), 10_000, "under way"),
        (None, 0.1, "not known"),
        (None, 10_000_000, "not known"),
    ],
)
def test_only_what_its_coordinator_has_ended_long_ago_hangs(
    known: Known | None, after_s: float, standing: Standing
) -> None:
    assert seen(AT, known=known, after_s=after_s).standing(AT) == standing


class Looks(Transactions):
    def __init__(self, *looks: Seen) -> None:
        self.looks = list(looks)

    async def look(self, topics: Sequence[str]) -> Seen:
        return self.looks.pop(0)


@pytest.mark.parametrize(
    ("first", "second", "standing"),
    [
        ((AT, GONE, 200), (AT, GONE, 202), "hangs"),
        ((AT, GONE, 99), (AT, GONE, 101), "not owned"),
        ((AT, None, 200), (AT, GONE, 202), "not owned"),
        ((AT, GONE, 200), (AT, None, 202), "not known"),
        ((AT._replace(since=1), GONE, 200), (AT, GONE, 202), "not owned"),
        ((AT, None, 200), (AT, Known("id", "Ongoing", 20_000, HERE), 202), "under way"),
    ],
)
async def test_it_hangs_by_two_looks_or_not_at_all(
    first: tuple[Open, Known | None, int], second: tuple[Open, Known | None, int], standing: Standing
) -> None:
    looks = Looks(*(seen(one, known=known, after_s=after_s) for one, known, after_s in (first, second)))
    found = await looks.examine([], 0.0)
    assert {one: how for one, (how, _) in found.items()} == {AT: standing}


async def test_what_is_sound_is_looked_at_once() -> None:
    found = await Looks(seen(AT, known=Known("id", "Ongoing", 20_000, HERE), after_s=5)).examine([], 0.0)
    assert found == {AT: ("under way", "id")}


HUNG = [AT._replace(since=since, partition=TopicPartition("m.progress", since)) for since in (1, 2, 3)]
HIDDEN, LIVE, YOUNG = (AT._replace(since=since) for since in (4, 5, 6))


class Fake:
    """Stands in for Transactions; ending the one at offset 2 is refused."""

    ended: list[Open]

    def __init__(self, *_: object) -> None: ...

    async def __aenter__(self) -> "Fake":
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def examine(self, topics: Sequence[str], pause_s: float) -> dict[Open, tuple[Standing, str]]:
        return {
            **dict.fromkeys(HUNG, ("hangs", "id")),
            HIDDEN: ("not known", ""),
            LIVE: ("under way", "id"),
            YOUNG: ("not owned", "id"),
        }

    async def abort(self, one: Open) -> None:
        if one.since == 2:
            raise DependencyError("broker_refused", "no Alter", "ask for it")
        self.ended.append(one)


def run(root: Path, patch: pytest.MonkeyPatch, *more: str) -> tuple[Result, list[Open]]:
    (root / "mira.toml").write_text('[broker]\nbootstrap_servers = "kafka:9092"\n[groups.g]\nfamily = "text"\n')
    fake = type("Fresh", (Fake,), {"ended": []})
    patch.setattr(transactions, "Transactions", fake)
    result = CliRunner().invoke(app, ["transactions", "--project", str(root), *more])
    return result, fake.ended  # type: ignore[attr-defined]


@pytest.mark.parametrize("more", [(), ("--abort",)])
def test_nothing_is_ended_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]) -> None:
    result, ended = run(tmp_path, monkeypatch, *more)
    assert (result.exit_code, ended) == (1, [])
    assert ("nothing was ended" in result.stdout) is bool(more)
    assert "m.progress/3" in result.stdout


def test_yes_ends_what_hangs_and_nothing_else_and_says_what_it_could_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, ended = run(tmp_path, monkeypatch, "--abort", "--yes", "--json")
    assert ended == [HUNG[0], HUNG[2]]
    assert result.exit_code == 1, "one could not be ended, one is not known"
    rows: list[dict[str, Any]] = orjson.loads(result.stdout)["transactions"]
    assert [(row["since_offset"], row["aborted"]) for row in rows] == [
        (1, True), (2, False), (3, True), (4, False), (5, False), (6, False),
    ]  # fmt: skip
    assert "no Alter" in rows[1]["error"]
    assert {row["standing"] for row in rows} == set(command.SAID)


def test_yes_alone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, ended = run(tmp_path, monkeypatch, "--yes")
    assert (result.exit_code, ended) == (2, [])
