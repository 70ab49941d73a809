"""`select` from cards to shards: exact, the same bytes each time, whole or not there."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
import pytest

from mira_stream.chance import u
from mira_stream.cli.main import main
from mira_stream.epochs import is_above
from mira_stream.errors import ConfigError, DependencyError, UsageError
from mira_stream.exporting.schema import SCORES, Schema
from mira_stream.messages import SLOTS, Mark
from mira_stream.parquet import read_columns, write_table
from mira_stream.parquet.batches import ArrowTables
from mira_stream.selection.inputs import Columns, Filters
from mira_stream.selection.ports import Batch, Shard, Table
from mira_stream.selection.rules import Order, Shares
from mira_stream.selection.select import Request, select
from mira_stream.selection.spool import Spool

SOURCES = {"alpha": "one", "beta": "one", "gamma": "two"}
PLAIN: Schema = {"id": "string", "source": "string", "score": "float64", "tokens": "int64"}


def cards(source: str, first: int, count: int) -> dict[str, list[Any]]:
    """Score cards of one source as the exporter writes them; qualities bunch, tokens vary."""
    ids = [f"{source}-{i}" for i in range(first, first + count)]
    columns: dict[str, list[Any]] = {name: [None] * count for name in SCORES}
    columns |= {slot: [7.0] * count for slot in SLOTS}
    columns |= {
        "id": ids,
        "source": [source] * count,
        "group": [SOURCES[source]] * count,
        "lineage": ["l" * 12] * count,
        "mask": ["m" * 12] * count,
        "reason": ["above"] * count,
        "quality": [round(40 + 40 * u("audit", name) ** 2) + 0.5 for name in ids],
        "tokens": [1 + int(400 * u("seed", name)) for name in ids],
    }
    return columns


def export(root: Path, files: int = 3, count: int = 200) -> Path:
    for source in SOURCES:
        for number in range(files):
            path = root / "scores" / source / f"part-{number:05d}.parquet"
            write_table(path, SCORES, cards(source, number * count, count))
    return root / "scores"


def rows(folder: Path, table: str = "kept") -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for path in sorted(folder.glob(f"{table}/*/*.parquet")):
        for name, values in read_columns(path).items():
            found.setdefault(name, []).extend(values)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


SMALL = ArrowTables(batch_rows=64)
BUDGET = 50_000


@pytest.mark.parametrize("variant", ["global", "group", "source"])
def test_the_budget_is_met_and_the_manifest_says_what_is_there(tmp_path: Path, variant: str) -> None:
    request = Request(export(tmp_path), tmp_path / "out", Order(variant, BUDGET))  # type: ignore[arg-type]
    manifest = select(request, SMALL)
    kept = rows(tmp_path / "out")
    longest = 401
    assert BUDGET - longest <= sum(kept["tokens"]) <= BUDGET
    assert manifest["kept"] == {"documents": len(kept["id"]), "tokens": sum(kept["tokens"])}
    assert orjson.loads((tmp_path / "out" / "manifest.json").read_bytes()) == manifest
    assert sum(shard["rows"] for shard in manifest["shards"]) == len(kept["id"])
    assert set(kept) == set(SCORES)
    thresholds = {name: source["threshold"]["score"] for name, source in manifest["sources"].items()}
    assert len(set(thresholds.values())) <= {"global": 1, "group": 2, "source": 3}[variant]


def test_the_streams_rule_under_the_manifests_marks_keeps_the_same_documents(tmp_path: Path) -> None:
    scores = export(tmp_path)
    manifest = select(Request(scores, tmp_path / "out", Order("source", BUDGET)), SMALL)
    expected = set()
    for source, said in manifest["sources"].items():
        mark = Mark(value=said["threshold"]["score"], tie_fraction=said["threshold"]["tie_fraction"])
        for path in scores.glob(f"{source}/*.parquet"):
            found = read_columns(path, ["id", "quality"])
            pairs = zip(found["id"], found["quality"], strict=True)
            expected |= {id_ for id_, quality in pairs if is_above(mark, quality, id_)}
    assert set(rows(tmp_path / "out")["id"]) == expected


def test_repetition_and_other_batches_give_the_same_bytes(tmp_path: Path) -> None:
    scores = export(tmp_path)
    order = Order("group", BUDGET, shares=Shares({"gamma": 0.5}, {"beta": 0.1}))
    for out, tables in (("one", SMALL), ("two", SMALL), ("three", ArrowTables())):
        select(Request(scores, tmp_path / out, order), tables)
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "three")


def test_a_retention_by_documents_and_a_floor_that_holds(tmp_path: Path) -> None:
    columns = cards("alpha", 0, 100)
    columns["reason"] = ["floor:A11"] * 20 + ["above"] * 80
    columns["quality"][:20] = [100.0] * 20
    write_table(tmp_path / "scores" / "alpha" / "part-0.parquet", SCORES, columns)
    order = Order(retention={"alpha": 0.25}, unit="documents")
    manifest = select(Request(tmp_path / "scores", tmp_path / "out", order), SMALL)
    assert manifest["sources"]["alpha"]["left_out"] == {"floor": 20}
    assert manifest["kept"]["documents"] == 20
    assert set(rows(tmp_path / "out")["id"]) & set(columns["id"][:20]) == set()


def test_random_keeps_the_budget_and_looks_at_no_score(tmp_path: Path) -> None:
    scores = export(tmp_path)
    for name, by_chance in (("random", True), ("mira", False)):
        order = Order("global", BUDGET)
        select(Request(scores, tmp_path / name, order, method=name, by_chance=by_chance), SMALL)
    chosen, best = rows(tmp_path / "random"), rows(tmp_path / "mira")
    assert BUDGET - 401 <= sum(chosen["tokens"]) <= BUDGET
    everything = [quality for source in SOURCES for quality in cards(source, 0, 600)["quality"]]
    mean = sum(everything) / len(everything)
    assert abs(sum(chosen["quality"]) / len(chosen["id"]) - mean) < 3 < sum(best["quality"]) / len(best["id"]) - mean


def one_file(tmp_path: Path, **changes: list[Any]) -> Path:
    columns: dict[str, list[Any]] = {
        "id": ["a", "b", "c"],
        "source": ["s", "s", "t"],
        "score": [0.25, -1e9, 3.0],
        "tokens": [10, 10, 10],
    }
    write_table(tmp_path / "one.parquet", PLAIN, columns | changes)
    return tmp_path / "one.parquet"


def test_any_scores_of_any_kind_also_as_csv(tmp_path: Path) -> None:
    select(Request(one_file(tmp_path), tmp_path / "out", Order("global", 20), columns=Columns(score="score")), SMALL)
    assert rows(tmp_path / "out")["id"] == ["a", "c"]
    (tmp_path / "one.csv").write_text("id,source,score,tokens\n007,s,0.25,10\n8,s,-1e9,10\n9,t,3,10\n")
    request = Request(tmp_path / "one.csv", tmp_path / "csv", Order("global", 20), columns=Columns(score="score"))
    select(request, SMALL)
    assert rows(tmp_path / "csv")["id"] == ["007", "9"]


def test_a_file_of_id_source_score_and_tokens_is_enough_for_the_command(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """As the command's help says; chance needs no score at all."""
    (tmp_path / "one.csv").write_text("id,source,score,tokens\na,s,0.25,10\nb,s,-1e9,10\nc,t,3,10\n")
    common = ["--tokens", "20", "--variant", "global", "--json"]
    assert main(["select", str(tmp_path / "one.csv"), *common, "--out", str(tmp_path / "out")]) == 0
    assert rows(tmp_path / "out")["id"] == ["a", "c"]
    assert orjson.loads(capfdbinary.readouterr().out)["score"] == "score"
    (tmp_path / "bare.csv").write_text("id,source,tokens\na,s,10\nb,s,10\nc,t,10\n")
    chance = ["--tokens", "20", "--method", "random"]
    assert main(["select", str(tmp_path / "bare.csv"), *chance, "--out", str(tmp_path / "chance")]) == 0
    assert len(rows(tmp_path / "chance")["id"]) == 2
    assert main(["select", str(tmp_path / "bare.csv"), *common, "--out", str(tmp_path / "none")]) == 3
    assert b"no column quality" in (said := capfdbinary.readouterr().err)
    assert b"--score-column" in said


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"score": [1.0, None, 2.0]}, "score_missing"),
        ({"score": [1.0, float("nan"), 2.0]}, "score_missing"),
        ({"tokens": [1, None, 2]}, "tokens_invalid"),
        ({"tokens": [1, -1, 2]}, "tokens_invalid"),
        ({"id": ["a", None, "c"]}, "id_missing"),
        ({"source": ["../s", "s", "t"]}, "source_invalid"),
    ],
)
def test_what_is_not_there_is_never_guessed(tmp_path: Path, changes: Mapping[str, list[Any]], code: str) -> None:
    file = one_file(tmp_path, **changes)
    with pytest.raises(ConfigError) as refused:
        select(Request(file, tmp_path / "out", Order("global", 10), columns=Columns(score="score")), SMALL)
    assert refused.value.code == code
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.parquet"]


def test_cards_without_a_score_are_counted_when_they_may_be_left_out(tmp_path: Path) -> None:
    file = one_file(tmp_path, score=[1.0, None, 2.0])
    filters = Filters(skip_missing=True)
    request = Request(file, tmp_path / "out", Order("global", 10), columns=Columns(score="score"), filters=filters)
    manifest = select(request, SMALL)
    assert manifest["sources"]["s"]["left_out"] == {"no_score": 1}


def test_cards_of_two_lineages_are_not_mixed(tmp_path: Path) -> None:
    columns = cards("alpha", 0, 10)
    columns["lineage"] = ["old"] * 5 + ["new"] * 5
    write_table(tmp_path / "scores" / "part-0.parquet", SCORES, columns)
    with pytest.raises(ConfigError, match="lineage_mixed"):
        select(Request(tmp_path / "scores", tmp_path / "out", Order("global", 10)), SMALL)
    filters = Filters(lineage=frozenset(["new"]))
    manifest = select(Request(tmp_path / "scores", tmp_path / "out", Order("global", 10), filters=filters), SMALL)
    assert manifest["sources"]["alpha"]["left_out"] == {"other_lineage": 5}


def test_a_lineage_that_no_card_has_or_no_file_names_is_refused(tmp_path: Path) -> None:
    filters = Filters(lineage=frozenset({"nobody"}))
    with pytest.raises(ConfigError, match=r"nothing_to_select.*left out: [0-9,]+ other_lineage.*column lineage"):
        select(Request(export(tmp_path), tmp_path / "out", Order("source", 100), filters=filters), SMALL)
    plain = tmp_path / "plain.csv"
    plain.write_text("id,source,score,tokens\na,s,1,5\n")
    with pytest.raises(ConfigError, match=r"lineage_missing: plain\.csv has no column lineage.*leave out --lineage"):
        select(Request(plain, tmp_path / "out", Order("source", 5), columns=Columns(""), filters=filters), SMALL)


def test_a_folder_that_is_somebodys_is_refused_and_an_older_selection_replaced_on_demand(tmp_path: Path) -> None:
    file = one_file(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("precious")
    request = Request(file, out, Order("global", 10), columns=Columns(score="score"), force=True)
    with pytest.raises(UsageError, match="out_not_empty"):
        select(request, SMALL)
    assert (out / "thesis.txt").read_text() == "precious"
    (out / "thesis.txt").unlink()
    select(request._replace(force=False), SMALL)
    with pytest.raises(UsageError, match="--force"):
        select(request._replace(force=False), SMALL)
    manifest = select(request._replace(order=Order("global", 30)), SMALL)
    assert manifest["kept"]["documents"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.parquet", "out"]


def test_cards_whose_id_comes_again_are_counted_and_said(tmp_path: Path) -> None:
    file = one_file(tmp_path, id=["a", "a", "a"])
    manifest = select(Request(file, tmp_path / "out", Order("global", 30), columns=Columns(score="score")), SMALL)
    assert manifest["repeated_ids"] == 1, "the third is another source's"
    spool = Spool(tmp_path / "spool", chunk_cards=7)
    ids = np.array([n % 30 for n in range(100)], dtype=np.uint64)
    spool.add(ids, ids, np.ones(100, dtype=np.int64), ["s"] * 100)
    spool.seal()
    assert [spool.repeated(most) for most in (1, 9, 1_000)] == [70, 70, 70]


def test_force_takes_nothing_that_is_not_the_older_selection(tmp_path: Path) -> None:
    file, out = one_file(tmp_path), tmp_path / "out"
    request = Request(file, out, Order("global", 10), columns=Columns(score="score"), force=True)
    out.mkdir()
    (out / "manifest.json").write_text('{"my": "manifest"}')
    with pytest.raises(UsageError, match="is no selection"):
        select(request, SMALL)
    (out / "manifest.json").unlink()
    select(request, SMALL)
    (out / "README").write_text("precious")
    with pytest.raises(UsageError, match=r"out_holds_others.*README"):
        select(request, SMALL)
    (out / "README").unlink()
    moved = out / "scores.parquet"
    file.rename(moved)
    with pytest.raises(UsageError, match="out_holds_input"):
        select(request._replace(scores=moved), SMALL)
    assert moved.is_file()


def test_killed_while_it_replaces_an_older_selection_that_one_is_still_there(tmp_path: Path) -> None:
    file, out = one_file(tmp_path), tmp_path / "out"
    request = Request(file, out, Order("global", 10), columns=Columns(score="score"))
    select(request, SMALL)
    out.rename(tmp_path / ".out.old")
    with pytest.raises(UsageError, match="--force"):
        select(request, SMALL)
    assert (out / "manifest.json").is_file()
    select(request._replace(force=True), SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.parquet", "out"]


class FullDisk(ArrowTables):
    """Finds no space for the second shard."""

    shards = 0

    def open_shard(self, sink: BinaryIO) -> Shard:
        self.shards += 1
        if self.shards == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().open_shard(sink)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    scores = export(tmp_path)
    with pytest.raises(DependencyError, match="disk_full"):
        select(Request(scores, tmp_path / "out", Order("global", BUDGET)), FullDisk())
    assert [path.name for path in tmp_path.iterdir()] == ["scores"]


class Changing(ArrowTables):
    """Somebody appends to the export while it is read."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._opened: set[Path] = set()

    def open_source(self, path: Path) -> Table:
        if path in self._opened:
            write_table(self._path, SCORES, cards("alpha", 0, 300))
        self._opened.add(path)
        return super().open_source(path)


def test_an_input_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    scores = export(tmp_path)
    tables = Changing(scores / "gamma" / "part-00002.parquet")
    with pytest.raises(ConfigError, match=r"input_changed|group_mixed"):
        select(Request(scores, tmp_path / "out", Order("global", BUDGET)), tables)
    assert [path.name for path in tmp_path.iterdir()] == ["scores"]


KILLED = """
import os, signal, sys
from pathlib import Path
from mira_stream.parquet.batches import ArrowTables
from mira_stream.selection.rules import Order
from mira_stream.selection.select import Request, select

class Killed(ArrowTables):
    shards = 0
    def open_shard(self, sink):
        self.shards += 1
        if self.shards == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open_shard(sink)

select(Request(Path(sys.argv[1]), Path(sys.argv[2]), Order("global", 50_000)), Killed())
"""


def test_a_run_killed_in_the_middle_is_started_again_clean(tmp_path: Path) -> None:
    scores = export(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(scores), str(tmp_path / "out")], env=os.environ, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert (tmp_path / ".out.selecting").is_dir()
    request = Request(scores, tmp_path / "out", Order("global", BUDGET))
    select(request, SMALL)
    select(request._replace(out=tmp_path / "fresh"), SMALL)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "out", "scores"]


def batch_of(columns: Mapping[str, Sequence[str | None]]) -> Batch:
    return SMALL.make_batch(columns)


def test_content_comes_from_its_first_occurrence_and_must_be_there(tmp_path: Path) -> None:
    file = one_file(tmp_path)
    whole = {"id": ["c", "b", "a", "a"], "source": ["t", "s", "s", "s"], "text": ["C", "B", "A", "again"]}
    request = Request(file, tmp_path / "out", Order("global", 20), columns=Columns(score="score"))
    manifest = select(request._replace(content=lambda: iter([batch_of(whole)])), SMALL)
    assert manifest["content"]["documents"] == 2
    assert rows(tmp_path / "out", "content") == {"id": ["a", "c"], "source": ["s", "t"], "text": ["A", "C"]}
    part = {name: values[:2] for name, values in whole.items()}
    lacking = request._replace(out=tmp_path / "two", content=lambda: iter([batch_of(part)]))
    with pytest.raises(ConfigError, match="content_missing"):
        select(lacking, SMALL)
    assert not (tmp_path / "two").exists()


def test_the_command_talks_and_emits_the_manifest(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    scores = export(tmp_path)
    arguments = ["select", str(scores), "--tokens", "50k", "--min-share", "gamma=0.5"]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--json"]) == 0
    said = capfdbinary.readouterr()
    emitted = orjson.loads(said.out)
    assert emitted["sources"]["gamma"]["kept"]["tokens"] >= 25_000
    assert b"one threshold a group within minimum and maximum shares" in said.err
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert main([*arguments, "--min-share", "alpha=0.9", "--out", str(tmp_path / "more")]) == 3


def test_a_budget_that_keeps_nothing_is_never_silent(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    arguments = ["select", str(one_file(tmp_path)), "--variant", "global", "--score-column", "score"]
    assert main([*arguments, "--tokens", "0", "--out", str(tmp_path / "none")]) == 2
    assert b"at least 1" in capfdbinary.readouterr().err
    assert main([*arguments, "--tokens", "1", "--out", str(tmp_path / "one")]) == 0
    assert b"warning: nothing is kept" in capfdbinary.readouterr().err


def test_a_folder_with_the_name_of_a_file_is_looked_through_and_a_link_to_nowhere_named(tmp_path: Path) -> None:
    parts = tmp_path / "cards" / "all.parquet"
    parts.mkdir(parents=True)
    (parts / "part-0.csv").write_text("id,source,quality,tokens\na,s,1,10\nb,s,2,10\n")
    arguments = ["select", str(tmp_path / "cards"), "--variant", "global", "--tokens", "10"]
    assert main([*arguments, "--out", str(tmp_path / "one")]) == 0
    assert rows(tmp_path / "one")["id"] == ["b"]
    (parts / "part-1.parquet").symlink_to(tmp_path / "nowhere")
    assert main([*arguments, "--out", str(tmp_path / "two")]) == 3


def test_a_budget_that_shares_leave_unfilled_is_said(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    cards = tmp_path / "cards.csv"
    cards.write_text("id,source,quality,tokens\n" + "".join(f"{s}{i},{s},{i},60\n" for s in "st" for i in range(5)))
    arguments = ["select", str(cards), "--variant", "global", "--tokens", "200"]
    assert main([*arguments, "--max-share", "s=0.5", "--max-share", "t=0.5", "--out", str(tmp_path / "one")]) == 0
    assert b"warning: 80 tokens of the budget are left" in capfdbinary.readouterr().err
    assert main([*arguments, "--min-share", "s=0.5", "--min-share", "t=0.5", "--out", str(tmp_path / "two")]) == 0
    assert len(rows(tmp_path / "two")["id"]) == 3, "240 would pass the budget"


def test_the_command_takes_a_file_of_scores_alone_or_joined(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    file = one_file(tmp_path)
    common = ["--tokens", "20", "--variant", "global", "--method", f"scores:{file}"]
    assert main(["select", str(file), *common, "--out", str(tmp_path / "alone")]) == 0
    assert rows(tmp_path / "alone")["id"] == ["a", "c"]
    columns: dict[str, list[Any]] = {"id": ["c", "a", "b"], "source": ["t", "s", "s"], "tokens": [10, 10, 10]}
    other = tmp_path / "cards.parquet"
    write_table(other, {"id": "string", "source": "string", "tokens": "int64"}, columns)
    assert main(["select", str(other), *common, "--out", str(tmp_path / "joined")]) == 0
    assert rows(tmp_path / "joined")["id"] == ["a", "c"]
    write_table(other, PLAIN, {name: [*values, values[0]] for name, values in columns.items()} | {"score": [0.0] * 4})
    capfdbinary.readouterr()
    assert main(["select", str(other), *common, "--out", str(tmp_path / "x"), "--tokens", "many"]) == 2
