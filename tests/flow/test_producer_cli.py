"""`mira-stream produce files | watch | http` from their arguments to their JSON."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog

from mira_stream.cli import connect as connecting
from mira_stream.cli.main import main
from mira_stream.config import load_project
from mira_stream.ingest import batches as batching
from mira_stream.ingest import source as ingest_source
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming.folder_watch import Watched
from mira_stream.streaming.ports import TransactionalProducer
from mira_stream.testing.broker import MemoryBroker

TOML = """
[groups.text]
family = "text"
[sources.web]
group = "text"
path = "web.jsonl"
[sources.docs]
group = "text"
path = "docs"
text = "body"
[sources.pathless]
group = "text"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project directory, its broker in memory."""
    (tmp_path / "mira.toml").write_text(TOML)
    (tmp_path / "web.jsonl").write_text('{"id":"a","text":"x"}\n{oops\n')
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "part.jsonl").write_text('{"id":"b","body":"x"}\n')
    (tmp_path / "docs" / "README.md").write_text("about")
    broker = MemoryBroker()
    monkeypatch.setattr(connecting, "connect", lambda project, servers: broker)
    yield tmp_path
    structlog.reset_defaults()  # a service makes it write to the standard error of its time


def run(capfdbinary: pytest.CaptureFixture[bytes], *arguments: str) -> tuple[int, Any, str]:
    """Exit code, the JSON object of standard output if there is one, standard error."""
    code = main(["produce", "files", *arguments])
    out, err = capfdbinary.readouterr()
    return code, json.loads(out) if out else None, err.decode()


def test_all_sources_with_a_path(project: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code, counts, talk = run(capfdbinary, "--project", str(project), "--json")
    assert (code, counts) == (
        0,
        {
            "sources": {
                "docs": {"documents": 1, "rejected": 0, "new": 1, "again": 0, "left": 0},
                "web": {"documents": 1, "rejected": 1, "new": 2, "again": 0, "left": 0},
            },
            "produced": 3,
            "new": 3,
            "again": 0,
        },
    )
    assert "web: 1 documents, 1 rejected (2 new)" in talk
    assert "1 files beside the data left out" in talk
    assert run(capfdbinary, "--project", str(project), "--json")[1]["new"] == 0


def test_another_path_for_a_source(project: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    (project / "more.jsonl").write_text('{"body":"1"}\n{"body":"2"}\n')
    arguments = ("web", "--corpus", f"docs={project / 'more.jsonl'}", "--project", str(project), "--json")
    code, counts, _ = run(capfdbinary, *arguments)
    assert (code, counts["sources"]["docs"]["documents"], counts["produced"]) == (0, 2, 4)


def test_without_json_nothing_goes_to_standard_output(project: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(capfdbinary, "web", "--project", str(project))[:2] == (0, None)


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["unknown"], 2, "source_unknown"),
        (["--corpus", "new=x.jsonl"], 2, "source_unknown"),
        (["--corpus", "web"], 2, "corpus_invalid"),
        (["--corpus", "web=no.jsonl"], 3, "source_missing"),
        (["pathless"], 3, "source_pathless"),
        (["web", "--again", "--missing"], 2, "again_and_missing"),
        (["--nonsense"], 2, ""),
    ],
)
def test_what_cannot_be_done(
    project: Path, capfdbinary: pytest.CaptureFixture[bytes], arguments: list[str], code: int, error: str
) -> None:
    ended, counts, talk = run(capfdbinary, *arguments, "--project", str(project), "--json")
    assert (ended, counts) == (code, None)
    assert error in talk


def test_what_is_missing(project: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    where = ("web", "--missing", "--project", str(project), "--json")
    assert run(capfdbinary, *where)[1]["new"] == 2
    code, counts, talk = run(capfdbinary, *where)
    assert (code, counts["sources"]["web"]["left"], counts["again"]) == (0, 2, 0)
    assert "0 of those produced before sent again" in talk


class _StoppedAfter:
    """A producer whose second transaction is followed by Ctrl-C."""

    def __init__(self, inner: TransactionalProducer) -> None:
        self._inner = inner
        self._commits = 0

    async def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None:
        self._commits += 1
        if self._commits > 2:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        await self._inner.commit(records, offsets, consumer_group)

    async def close(self) -> None:
        await self._inner.close()


@pytest.mark.parametrize("missing", [True, False])
def test_ctrl_c_says_what_was_sent_and_that_the_same_command_goes_on(
    project: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, missing: bool
) -> None:
    monkeypatch.setattr(ingest_source, "batches", partial(batching.batches, rows_max=3))
    (project / "web.jsonl").write_text("".join(f'{{"id":"{n}","text":"x"}}\n' for n in range(9)))
    broker = connecting.connect(load_project(project), None)
    opened = broker.producer

    async def producer(transactional_id: str) -> TransactionalProducer:
        return _StoppedAfter(await opened(transactional_id))

    where = ("web", *(["--missing"] if missing else []), "--project", str(project), "--json")
    with monkeypatch.context() as patched:
        patched.setattr(broker, "producer", producer)
        code, counts, talk = run(capfdbinary, *where)
    assert (code, counts["stopped"], counts["new"]) == (130, True, 3)
    assert "web: 3 documents, 0 rejected (3 new)" in talk
    assert "stopped: what was sent stays, and the same command goes on with the rest" in talk
    assert run(capfdbinary, *where)[1]["new"] == 6


def test_a_changed_file_and_again(project: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    where = ("web", "--project", str(project), "--json")
    assert run(capfdbinary, *where)[0] == 0
    (project / "web.jsonl").write_text('{"id":"c","text":"y"}\n')
    code, _, talk = run(capfdbinary, *where)
    assert (code, "--again" in talk) == (5, True)
    assert run(capfdbinary, *where, "--again")[1]["new"] == 1


def test_watch_says_what_it_watches(
    project: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(*_: object, **__: object) -> Watched:
        return Watched()

    monkeypatch.setattr("mira_stream.producers.watch.watch", at_once)
    where = ("--project", str(project), "--json")
    assert main(["produce", "watch", str(project / "docs"), "--source", "docs", *where]) == 0
    assert f"watching {project / 'docs'} for docs: .jsonl" in capfdbinary.readouterr().err.decode()


@pytest.mark.parametrize(
    ("arguments", "token", "code", "error"),
    [
        (["produce", "watch", "in", "--source", "unknown"], "", 2, "source_unknown"),
        (["produce", "watch", "in"], "", 2, ""),
        (["produce", "watch", "in", "--source", "web"], "", 3, "source_missing"),
        (["produce", "http", "--host", "0.0.0.0"], "", 2, "token_missing"),
        (["produce", "http", "--host", "0.0.0.0"], "short", 3, "token_weak"),
        (["produce", "http", "--token-file", "no"], "", 3, "token_unreadable"),
        (["produce", "http", "--token-file", "empty"], "a token of the environment", 3, "token_weak"),
        (["dashboard", "--host", "0.0.0.0"], "", 2, "token_missing"),
        (["dashboard", "--host", "0.0.0.0"], "a", 3, "token_weak"),
        (["dashboard", "--token-file", "no"], "", 3, "token_unreadable"),
        (["dashboard", "--token-file", "empty"], "a token of the environment", 3, "token_weak"),
    ],
)
def test_what_cannot_be_done_without_end(
    project: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    token: str,
    code: int,
    error: str,
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("MIRA_HTTP_TOKEN", token)
    monkeypatch.setenv("MIRA_DASHBOARD_TOKEN", token)
    (project / "empty").write_text("\n")
    ended = main([*arguments, "--project", str(project), "--json"])
    out, err = capfdbinary.readouterr()
    assert (ended, out) == (code, b"")
    assert error.encode() in err
    assert len(token) < 2 or token.encode() not in err
