"""The audit itself is tested: every planted defect must be found, by its own name, in a stream that was clean."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from mira_stream.exporting import OutFolder
from mira_stream.messages import DeadLetter, Export, ScoreCard, decoder
from mira_stream.records import TopicPartition
from tests.flow.audit_logs import FrozenStream, edited, finished_stream
from tests.flow.audit_plants import DEFECTS, double_decision, letter_beside_a_decision, lose_content


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> FrozenStream:
    return asyncio.run(finished_stream(tmp_path_factory.mktemp("stream")))


@pytest.fixture
def stream(clean: FrozenStream, tmp_path: Path) -> FrozenStream:
    return clean.copy(tmp_path / "out")


async def test_the_stream_is_clean_before(clean: FrozenStream) -> None:
    result = await clean.audit()
    assert result.findings == []
    assert result.ok
    assert (result.documents, result.decisions, result.dead_letters) == (362, 356, 6)
    assert (result.lost, result.doubled, result.waiting, result.different) == (0, 0, 0, 0)
    assert result.epochs_recomputed == len(clean.logs["epochs"])
    assert result.windows_recomputed == len(clean.logs["windows"])
    assert (result.decisions_recomputed, result.scores_rows) == (356, 356)
    assert (result.selected, result.files) == (result.kept_rows, result.files_listed)
    assert result.line() == (
        f"audit: 362 documents = 356 decisions + 6 dead letters; 0 lost, 0 doubled;"
        f" {result.epochs_recomputed} epochs and 356 decisions and {result.windows_recomputed} window summaries"
        " recomputed, all equal"
    )


@pytest.mark.parametrize(("plant", "code"), DEFECTS, ids=[f"{p.__name__}-{c}" for p, c in DEFECTS])
async def test_every_planted_defect_is_found(
    stream: FrozenStream, plant: Callable[[FrozenStream], None], code: str
) -> None:
    plant(stream)
    result = await stream.audit()
    assert code in result.findings_by_code
    assert not result.ok
    assert "all equal" not in result.line() or "findings" in result.line()


@pytest.mark.parametrize("plant", [double_decision, letter_beside_a_decision])
async def test_a_document_that_ended_twice_counts_as_doubled(
    stream: FrozenStream, plant: Callable[[FrozenStream], None]
) -> None:
    plant(stream)
    assert (await stream.audit()).doubled == 1


async def test_what_committed_offsets_have_not_reached_is_waiting_and_not_lost(stream: FrozenStream) -> None:
    place = TopicPartition("mira.documents.text", 0)
    stream.append("documents.text", stream.logs["documents.text"][0]._replace(key=b"newest", partition=0))
    result = await stream.audit()
    assert (result.ok, result.waiting, result.lost) == (True, 1, 0)
    assert result.line().startswith("audit: 363 documents = 356 decisions + 6 dead letters + 1 waiting; 0 lost")
    stream.offsets[stream.project.consumer_group("scorer.text"), place] = stream.bounds[place][1]
    assert (await stream.audit()).lost == 1


async def test_cards_and_decisions_behind_the_committed_offsets_wait(stream: FrozenStream) -> None:
    scores = TopicPartition("mira.scores", 0)
    last = stream.logs["scores"][-1]
    stream.offsets[stream.project.consumer_group("aggregator"), scores] = last.offset
    card = decoder(ScoreCard).decode(last.value or b"")
    stream.logs["decisions"] = [r for r in stream.logs["decisions"] if r.key != card.id.encode()]
    for partition in (0, 1):
        place = TopicPartition("mira.decisions", partition)
        stream.offsets[stream.project.consumer_group("exporter"), place] = 0
    for path in stream.out.glob("*/*/*.parquet"):
        path.unlink()
    stream.logs["exports"].clear()
    result = await stream.audit()
    assert result.findings == []
    assert (result.ok, result.waiting, result.not_yet_exported) == (True, 1, 355)
    assert "all equal; 355 decisions not exported yet" in result.line()
    assert result.decisions_recomputed == 355


async def test_repeated_ids_are_reported_and_fail_only_when_asked(stream: FrozenStream) -> None:
    first = stream.logs["documents.text"][0]
    stream.append("documents.text", first)
    result = await stream.audit()
    assert (result.ok, result.duplicate_ids) == (True, 1)
    assert result.duplicate_id_examples == [(first.key or b"").decode()]
    assert "duplicate_ids" in (await stream.audit(unique_ids=True)).findings_by_code


async def test_dead_letters_of_the_producer_are_counted_apart(stream: FrozenStream) -> None:
    letter = edited(stream.logs["dead-letters"][0], DeadLetter, stage="produce", reason="invalid_json", origin=None)
    stream.append("dead-letters", letter)
    result = await stream.audit()
    assert (result.ok, result.dead_letters, result.dead_letters_at_produce) == (True, 6, 1)
    said = "356 decisions + 6 dead letters (and 1 row rejected before they became documents); 0 lost, 0 doubled;"
    assert f"audit: 362 documents = {said}" in result.line()
    assert "(and 20 rows rejected before" in replace(result, dead_letters_at_produce=20).line()


async def test_a_score_log_without_its_beginning_is_said_and_not_passed_over(stream: FrozenStream) -> None:
    scores = TopicPartition("mira.scores", 0)
    stream.bounds[scores] = (10, stream.bounds[scores][1])
    stream.logs["scores"] = stream.logs["scores"][10:]
    result = await stream.audit()
    assert "not_recomputed" in result.findings_by_code
    assert result.decisions_recomputed == 0
    assert "all equal" not in result.line()


async def test_cards_that_no_mask_was_for_are_known_by_the_log_when_their_documents_are_gone(
    stream: FrozenStream,
) -> None:
    assert any(b'"unknown_source"' in (record.value or b"") for record in stream.logs["dead-letters"])
    for place, (_, end) in stream.bounds.items():
        if place.topic == "mira.documents.text":
            stream.bounds[place] = (end, end)
    result = await stream.audit()
    assert result.findings == []
    assert result.documents == 0
    assert result.decisions_recomputed == 356


async def test_documents_deleted_by_retention_are_out_of_range(stream: FrozenStream) -> None:
    place = TopicPartition("mira.documents.text", 0)
    stream.bounds[place] = (20, stream.bounds[place][1])
    result = await stream.audit()
    assert result.findings == []
    assert result.documents == 342
    assert result.decisions_recomputed == 356


def _delete_unread(stream: FrozenStream, committed: int, first: int) -> TopicPartition:
    place = TopicPartition("mira.documents.text", 0)
    stream.offsets[stream.project.consumer_group("scorer.text"), place] = committed
    stream.bounds[place] = (first, stream.bounds[place][1])
    return place


async def test_documents_deleted_unread_are_a_finding_until_the_scorer_goes_on_behind_them(
    stream: FrozenStream,
) -> None:
    place = TopicPartition("mira.documents.text", 0)
    end = stream.bounds[place][1]
    stream.bounds[place] = (0, end + 10)
    _delete_unread(stream, end, end + 10)
    result = await stream.audit()
    assert (result.ok, result.lost, result.deleted_unread) == (False, 0, 10)
    (finding,) = result.findings
    assert (finding.code, finding.origin) == ("deleted_unread", f"mira.documents.text/0@{end}")
    assert f"offsets {end} to {end + 9} are deleted, and 10 of them" in finding.detail
    assert "score --accept-loss" in finding.detail
    assert "0 lost, 0 doubled, 10 offsets deleted unread; " in result.line()
    _delete_unread(stream, end + 10, end + 10)
    assert (await stream.audit()).ok


async def test_what_has_a_card_or_a_letter_was_read_whatever_the_committed_offset_says(stream: FrozenStream) -> None:
    records = stream.logs["documents.text"]
    read = sum(1 for one in records if one.partition == 0 and 5 <= one.offset < 20)
    _delete_unread(stream, 5, 20)
    assert read > 0
    assert (await stream.audit()).deleted_unread == 15 - read


async def test_a_scorer_that_never_committed_has_left_nothing_unread(stream: FrozenStream) -> None:
    place = TopicPartition("mira.documents.text", 0)
    end = stream.bounds[place][1]
    stream.bounds[place] = (0, end + 10)
    _delete_unread(stream, end, end + 10)
    assert (await stream.audit()).deleted_unread == 10
    del stream.offsets[stream.project.consumer_group("scorer.text"), place]
    assert (await stream.audit()).deleted_unread == 0


async def test_what_was_given_up_is_counted_apart_and_nothing_beyond_it(stream: FrozenStream) -> None:
    shutil.rmtree(stream.out)
    await OutFolder(stream.out, "mira.exports", accept_loss=True).look_back(await stream.reader())
    result = await stream.audit()
    assert result.findings == []
    assert (result.ok, result.given_up, result.scores_rows) == (True, 356, 0)
    assert "all equal; 356 decisions whose rows were given up by --accept-loss" in result.line()
    for path in stream.out.glob("scores/.*.given-up"):
        _, last = path.read_text().split()
        path.write_text(f"0 {int(last) - 1}\n")
    result = await stream.audit()
    partitions = len(list(stream.out.glob("scores/.*.given-up")))
    assert result.findings_by_code["decision_not_exported"] == partitions
    assert result.findings_by_code["file_missing"] > 0


async def test_contents_that_are_missing_have_a_way_out_and_are_counted_apart_behind_it(stream: FrozenStream) -> None:
    lose_content(stream)
    result = await stream.audit()
    assert result.findings_by_code == {"content_missing": 1, "file_differs": 1}  # the test has written the file
    (said,) = [finding.detail for finding in result.findings if finding.code == "content_missing"]
    assert f"mira-stream export --out {stream.out} --accept-loss" in said
    folder = OutFolder(stream.out, "mira.exports", accept_loss=True)
    await folder.look_back(await stream.reader())
    folder.check()
    result = await stream.audit()
    assert (result.findings_by_code, result.contents_written_off) == ({"file_differs": 1}, 1)
    assert "all equal; 1 kept documents without content, written off by --accept-loss" in result.line()
    for path in stream.out.glob("scores/.*.without-content"):
        path.write_text("0")  # what is exported behind that is the next loss
    assert (await stream.audit()).findings_by_code == {"content_missing": 1, "file_differs": 1}


@pytest.mark.parametrize("said", [True, False])
async def test_exports_before_one_anew_count_no_more(stream: FrozenStream, said: bool) -> None:
    decode = decoder(Export).decode
    before = list(stream.logs["exports"])
    if said:
        for record in {record.partition: record for record in before}.values():
            stream.append("exports", edited(record, Export, first=0, last=-1, files=[], anew=True))
    for record in before:
        files = []
        for file in decode(record.value or b"").files:
            path = stream.out / file.path
            anew = path.with_name(f"part-anew-{path.name}")
            path.rename(anew)
            files.append(replace(file, path=str(anew.relative_to(stream.out))))
        stream.append("exports", edited(record, Export, files=files))
    result = await stream.audit()
    assert list(result.findings_by_code) == ([] if said else ["file_missing"])
