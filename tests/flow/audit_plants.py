"""Defects to plant into a finished stream: what no broker and no service of ours would do."""

from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from mira_stream.exporting.schema import KEPT, SCORES
from mira_stream.messages import DeadLetter, Decision, Epoch, Export, Mark, Policy, ScoreCard, decoder, encode
from mira_stream.parquet import read_columns, write_table
from mira_stream.records import Record, TopicPartition
from mira_stream.window_messages import WindowSummary
from tests.flow.audit_logs import FrozenStream, edited
from tests.unit.windows_model import SIZE_S


def decided(record: Record) -> Decision:
    return decoder(Decision).decode(record.value or b"")


def index(stream: FrozenStream, topic: str, matches: Callable[[Record], bool], nth: int = 20) -> int:
    return [at for at, record in enumerate(stream.logs[topic]) if matches(record)][nth]


def late_decision(stream: FrozenStream, nth: int = 40) -> int:
    return index(stream, "decisions", lambda record: decided(record).epoch > 3, nth)


def count_epoch(stream: FrozenStream) -> int:
    return index(stream, "epochs", lambda record: b'"cause":"count"' in (record.value or b""), 5)


def drop_decision(s: FrozenStream) -> None:
    del s.logs["decisions"][late_decision(s)]


def drop_all_decisions_of_a_transaction(s: FrozenStream) -> None:
    first = late_decision(s)
    del s.logs["decisions"][first : first + 3]


def double_decision(s: FrozenStream) -> None:
    s.append("decisions", s.logs["decisions"][late_decision(s)])


def double_decision_elsewhere(s: FrozenStream) -> None:
    record = s.logs["decisions"][late_decision(s)]
    s.append("decisions", record, partition=1 - record.partition)


def decide_a_dead_document(s: FrozenStream) -> None:
    letter = decoder(DeadLetter).decode(s.logs["dead-letters"][0].value or b"")
    assert letter.origin is not None
    record = s.logs["decisions"][late_decision(s)]
    s.append("decisions", edited(record, Decision, origin=letter.origin), letter.origin.partition)


def swap_decisions(s: FrozenStream) -> None:
    log = s.logs["decisions"]
    at = late_decision(s)
    one, other = log[at], log[at + 1]
    assert one.partition == other.partition
    log[at], log[at + 1] = other._replace(offset=one.offset), one._replace(offset=other.offset)


def decision_in_another_partition(s: FrozenStream) -> None:
    record = s.logs["decisions"].pop(late_decision(s))
    s.append("decisions", record, partition=1 - record.partition)


def decision_under_another_key(s: FrozenStream) -> None:
    at = late_decision(s)
    s.logs["decisions"][at] = s.logs["decisions"][at]._replace(key=b"somebody-else")


def decision_for_no_document(s: FrozenStream) -> None:
    record = s.logs["decisions"][late_decision(s)]
    origin = decided(record).origin
    s.append("decisions", edited(record, Decision, origin=replace(origin, topic="mira.documents.qa")))


def change_decision(**changes: object) -> Callable[[FrozenStream], None]:
    def change(s: FrozenStream) -> None:
        at = late_decision(s)
        s.logs["decisions"][at] = edited(s.logs["decisions"][at], Decision, **changes)

    return change


def flip_selected(s: FrozenStream) -> None:
    at = late_decision(s)
    change_decision(selected=not decided(s.logs["decisions"][at]).selected)(s)


def nudge_quality(s: FrozenStream) -> None:
    at = late_decision(s)
    change_decision(quality=round(decided(s.logs["decisions"][at]).quality + 0.1, 1))(s)


def stale_epoch(s: FrozenStream) -> None:
    at = late_decision(s)
    change_decision(epoch=decided(s.logs["decisions"][at]).epoch - 1)(s)


def card_off_by_one(s: FrozenStream) -> None:
    at = late_decision(s)
    card = decided(s.logs["decisions"][at]).card
    change_decision(card=type(card)(partition=card.partition, offset=card.offset + 1))(s)


def break_decision(s: FrozenStream) -> None:
    at = late_decision(s)
    s.logs["decisions"][at] = s.logs["decisions"][at]._replace(value=b'{"schema":"decision.v1"')


def drop_epoch(s: FrozenStream) -> None:
    del s.logs["epochs"][count_epoch(s)]


def drop_policy_epoch(s: FrozenStream) -> None:
    del s.logs["epochs"][index(s, "epochs", lambda record: b'"cause":"policy"' in (record.value or b""), 0)]


def double_epoch(s: FrozenStream) -> None:
    s.append("epochs", s.logs["epochs"][count_epoch(s)])


def swap_epochs(s: FrozenStream) -> None:
    log, at = s.logs["epochs"], count_epoch(s)
    log[at], log[at + 1] = log[at + 1]._replace(offset=log[at].offset), log[at]._replace(offset=log[at + 1].offset)


def change_epoch(**changes: object) -> Callable[[FrozenStream], None]:
    def change(s: FrozenStream) -> None:
        at = count_epoch(s)
        s.logs["epochs"][at] = edited(s.logs["epochs"][at], Epoch, **changes)

    return change


def epoch_off_by_one(s: FrozenStream) -> None:
    epoch = decoder(Epoch).decode(s.logs["epochs"][count_epoch(s)].value or b"")
    change_epoch(first_offset=epoch.first_offset + 1)(s)


def threshold_by_a_hair(s: FrozenStream) -> None:
    epoch = decoder(Epoch).decode(s.logs["epochs"][count_epoch(s)].value or b"")
    assert epoch.keep is not None
    change_epoch(keep=Mark(value=epoch.keep.value, tie_fraction=epoch.keep.tie_fraction * (1 - 2**-52)))(s)


def policy_before_its_time(s: FrozenStream) -> None:
    at = index(s, "epochs", lambda record: b'"cause":"start"' in (record.value or b""), 0)
    newest = s.logs["policy"][-1].offset
    s.logs["epochs"][at] = edited(s.logs["epochs"][at], Epoch, policy=newest)


def change_policy(s: FrozenStream) -> None:
    at = index(s, "policy", lambda record: record.key == b"*", 0)
    s.logs["policy"][at] = edited(s.logs["policy"][at], Policy, retention=0.21)


def drop_card(s: FrozenStream) -> None:
    del s.logs["scores"][200]


def double_card(s: FrozenStream) -> None:
    s.append("scores", s.logs["scores"][200])
    aggregator = s.project.consumer_group("aggregator")
    s.offsets[aggregator, TopicPartition("mira.scores", 0)] = s.bounds[TopicPartition("mira.scores", 0)][1]


def change_score(s: FrozenStream) -> None:
    card = decoder(ScoreCard).decode(s.logs["scores"][200].value or b"")
    scores = [None if score is None else 11.0 - score for score in card.scores]
    s.logs["scores"][200] = edited(s.logs["scores"][200], ScoreCard, scores=scores)


def card_of_no_document(s: FrozenStream) -> None:
    last = s.bounds[TopicPartition("mira.documents.text", 0)]
    s.logs["documents.text"] = [r for r in s.logs["documents.text"] if (r.partition, r.offset) != (0, last[1] - 1)]


def drop_letter(s: FrozenStream) -> None:
    del s.logs["dead-letters"][0]


def double_letter(s: FrozenStream) -> None:
    s.append("dead-letters", s.logs["dead-letters"][0])


def change_letter(s: FrozenStream) -> None:
    s.logs["dead-letters"][1] = edited(s.logs["dead-letters"][1], DeadLetter, reason="too_long")


def letter_without_origin(s: FrozenStream) -> None:
    s.append("dead-letters", edited(s.logs["dead-letters"][0], DeadLetter, origin=None))


def letter_beside_a_decision(s: FrozenStream) -> None:
    origin = decided(s.logs["decisions"][late_decision(s)]).origin
    s.append("dead-letters", edited(s.logs["dead-letters"][0], DeadLetter, origin=origin), origin.partition)


def scorers_letter_beside_a_card(s: FrozenStream) -> None:
    s.logs["dead-letters"][0] = edited(s.logs["dead-letters"][0], DeadLetter, stage="score", reason="too_long")


def document_never_scored(s: FrozenStream) -> None:
    record = s.logs["documents.text"][0]
    s.append("documents.text", record)
    place = record.source
    s.offsets[s.project.consumer_group("scorer.text"), place] = s.bounds[place][1]


def drop_the_last_cards(s: FrozenStream) -> None:
    del s.logs["scores"][250:]


def a_file(s: FrozenStream, table: str) -> Path:
    return sorted(s.out.glob(f"{table}/books/*.parquet"))[0]


def rewrite(path: Path, rows: Callable[[int], list[int]], **changes: Callable[[list[object]], list[object]]) -> None:
    schema = KEPT if "kept" in path.parts else SCORES
    columns = read_columns(path)
    keep = rows(len(columns["id"]))
    written = {name: [values[at] for at in keep] for name, values in columns.items()}
    write_table(path, schema, {name: changes.get(name, list)(values) for name, values in written.items()})


def delete_file(s: FrozenStream) -> None:
    a_file(s, "scores").unlink()


def tear_file(s: FrozenStream) -> None:
    path = a_file(s, "kept")
    path.write_bytes(path.read_bytes()[:-100])


def copy_file(s: FrozenStream) -> None:
    path = a_file(s, "kept")
    path.with_name("part-copy.parquet").write_bytes(path.read_bytes())


def drop_kept_row(s: FrozenStream) -> None:
    rewrite(a_file(s, "kept"), lambda rows: list(range(1, rows)))


def drop_scores_row(s: FrozenStream) -> None:
    rewrite(a_file(s, "scores"), lambda rows: list(range(1, rows)))


def change_row(s: FrozenStream) -> None:
    rewrite(a_file(s, "scores"), lambda rows: list(range(rows)), A7=lambda scores: [1.5, *scores[1:]])


def keep_what_was_not_selected(s: FrozenStream) -> None:
    names = read_columns(a_file(s, "scores"), ["selected"])["selected"]
    assert not all(names)
    source = read_columns(a_file(s, "scores"))
    at = names.index(False)
    row = {name: [values[at]] for name, values in source.items()}
    content = {name: [None] for name in ("text", "messages", "parts", "meta", "content_error")}
    write_table(s.out / "kept" / "books" / "part-smuggled.parquet", KEPT, {**row, **content})


def lose_content(s: FrozenStream) -> None:
    rewrite(a_file(s, "kept"), lambda rows: list(range(rows)), content_error=lambda errors: ["deleted", *errors[1:]])


def row_of_another_source(s: FrozenStream) -> None:
    path = a_file(s, "scores")
    path.rename(s.out / "scores" / "wiki" / path.name)


def change_export(s: FrozenStream) -> None:
    export = decoder(Export).decode(s.logs["exports"][-1].value or b"")
    files = [type(file)(path=file.path, rows=file.rows, sha256="0" * 64) for file in export.files]
    s.logs["exports"][-1] = s.logs["exports"][-1]._replace(
        value=encode(Export(partition=export.partition, first=export.first, last=export.last, files=files))
    )


def tear_a_transaction(s: FrozenStream) -> None:
    """Its owner died and nobody ended it: what stands behind its first record is read by nobody."""
    place = TopicPartition("mira.decisions", 1)
    s.high[place] = s.bounds[place][1] + 3


def tear_the_score_log(s: FrozenStream) -> None:
    place = TopicPartition("mira.scores", 0)
    s.high[place] = s.bounds[place][1]
    s.bounds[place] = (0, s.logs["scores"][200].offset)
    s.logs["scores"] = s.logs["scores"][:200]


def a_summary(s: FrozenStream, revision: int = 1) -> int:
    return index(s, "windows", lambda record: b'"revision":%d,' % revision in (record.value or b""), 2)


def drop_summary(s: FrozenStream) -> None:
    """One that was never corrected."""
    read = [decoder(WindowSummary).decode(record.value or b"") for record in s.logs["windows"]]
    windows = [(one.source, one.lineage, one.start_ms) for one in read]
    del s.logs["windows"][next(at for at, window in enumerate(windows) if windows.count(window) == 1)]


def drop_newest_revision(s: FrozenStream) -> None:
    read = [decoder(WindowSummary).decode(record.value or b"") for record in s.logs["windows"]]
    at = max(at for at, one in enumerate(read) if one.revision > 1)
    del s.logs["windows"][at]


def double_summary(s: FrozenStream) -> None:
    s.append("windows", s.logs["windows"][a_summary(s)])


def repeat_revision(s: FrozenStream) -> None:
    at = a_summary(s, 2)
    s.logs["windows"][at] = edited(s.logs["windows"][at], WindowSummary, revision=1)


def change_summary(**by: int) -> Callable[[FrozenStream], None]:
    def change(s: FrozenStream) -> None:
        at = a_summary(s)
        summary = decoder(WindowSummary).decode(s.logs["windows"][at].value or b"")
        changes = {name: getattr(summary, name) + more for name, more in by.items()}
        s.logs["windows"][at] = edited(s.logs["windows"][at], WindowSummary, **changes)

    return change


def break_summary(s: FrozenStream) -> None:
    at = a_summary(s)
    s.logs["windows"][at] = s.logs["windows"][at]._replace(value=b"{")


DEFECTS: list[tuple[Callable[[FrozenStream], None], str]] = [
    (drop_decision, "lost"),
    (tear_a_transaction, "transaction_open"),
    (tear_the_score_log, "transaction_open"),
    (drop_all_decisions_of_a_transaction, "lost"),
    (double_decision, "decision_doubled"),
    (double_decision_elsewhere, "decision_doubled"),
    (decide_a_dead_document, "decision_and_dead_letter"),
    (swap_decisions, "decision_out_of_order"),
    (decision_in_another_partition, "decision_misplaced"),
    (decision_under_another_key, "decision_misplaced"),
    (decision_for_no_document, "decision_without_document"),
    (flip_selected, "decision_differs"),
    (nudge_quality, "decision_differs"),
    (stale_epoch, "decision_differs"),
    (card_off_by_one, "decision_differs"),
    (change_decision(reason="above", decision="keep", brief="x"), "decision_differs"),
    (break_decision, "decision_unreadable"),
    (drop_epoch, "epoch_missing"),
    (drop_policy_epoch, "decision_differs"),
    (double_epoch, "epoch_extra"),
    (swap_epochs, "epoch_extra"),
    (change_epoch(target_corrected=0.123), "epoch_differs"),
    (change_epoch(basis="prior"), "epoch_differs"),
    (epoch_off_by_one, "epoch_missing"),
    (threshold_by_a_hair, "epoch_differs"),
    (policy_before_its_time, "epoch_differs"),
    (change_policy, "epoch_differs"),
    (drop_summary, "window_missing"),
    (drop_newest_revision, "window_missing"),
    (double_summary, "window_extra"),
    (repeat_revision, "window_differs"),
    (change_summary(documents=-1, keep=-1), "window_differs"),
    (change_summary(tokens=1), "window_differs"),
    (change_summary(start_ms=SIZE_S * 10**7, end_ms=SIZE_S * 10**7), "window_extra"),
    (change_summary(next_offset=-40), "window_differs"),
    (change_summary(end_ms=1), "window_differs"),
    (change_summary(grace_ms=-1_000), "window_differs"),
    (break_summary, "window_unreadable"),
    (drop_card, "decision_without_card"),
    (double_card, "card_doubled"),
    (drop_the_last_cards, "epoch_extra"),
    (change_score, "decision_differs"),
    (card_of_no_document, "card_without_document"),
    (drop_letter, "lost"),
    (double_letter, "dead_letter_doubled"),
    (change_letter, "dead_letter_differs"),
    (letter_without_origin, "dead_letter_without_origin"),
    (letter_beside_a_decision, "decision_and_dead_letter"),
    (scorers_letter_beside_a_card, "card_and_dead_letter"),
    (document_never_scored, "lost"),
    (delete_file, "file_missing"),
    (delete_file, "decision_not_exported"),
    (tear_file, "file_unreadable"),
    (tear_file, "file_differs"),
    (copy_file, "row_doubled"),
    (drop_kept_row, "selected_not_exported"),
    (drop_kept_row, "file_rows_differ"),
    (drop_scores_row, "decision_not_exported"),
    (change_row, "row_differs"),
    (keep_what_was_not_selected, "kept_not_selected"),
    (lose_content, "content_missing"),
    (row_of_another_source, "row_misplaced"),
    (change_export, "file_differs"),
]
