"""The rules of the Snapshot: rates over restarts, states, the bottleneck, since when."""

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mira_stream.cli.status_view import view
from mira_stream.messages import SourceState, encode
from mira_stream.observing.backlog import Ages
from mira_stream.observing.facts import Answer, Look, Position, Shape
from mira_stream.observing.flow import Flow
from mira_stream.observing.history import POINTS, Ring
from mira_stream.observing.observer import Observer
from mira_stream.observing.scraped import parse
from mira_stream.observing.snapshot import (
    STAGES,
    BrokerRow,
    KeptRow,
    Snapshot,
    SourceRow,
    Stage,
    StageName,
    State,
    Trouble,
)
from mira_stream.observing.stages import FULL_FILL, HELD_MS, Reading, Standing, bottleneck, stand, state_of
from mira_stream.records import Record, TopicPartition
from mira_stream.streaming.limits import OPEN_TRANSACTION_FIX
from tests.browser.episode import BEGIN_MS, Episode

PARTITION = TopicPartition("mira.scores", 0)


def look(at_ms: int, value: float | None) -> Look:
    """One service with one counter; None: it does not answer."""
    scrape = None if value is None else parse(f'mira_x_total{{source="s"}} {value}\n')
    return Look(at_ms, {"one": Answer("http://127.0.0.1:1", scrape)}, {}, {}, {})


@given(st.lists(st.tuples(st.integers(1, 50), st.booleans()), min_size=1, max_size=5))
def test_rates_count_what_was_gained_over_restarts(steps: list[tuple[int, bool]]) -> None:
    """A restart loses what the old process did after the last look, and nothing else; no rate is negative."""
    flow, value, gained = Flow(), 100.0, 0.0
    flow.take(look(0, value))
    for number, (more, restarts) in enumerate(steps, 1):
        value = float(more) if restarts and more < value else value + more  # else nobody could tell it from growth
        gained += more
        flow.take(look(number * 1000, value))
    assert flow.rate("mira_x_total") == pytest.approx(gained / len(steps))


def test_a_silence_is_no_burst() -> None:
    flow = Flow()
    for at_s, value in enumerate((0.0, None, None, None, 40.0)):
        flow.take(look(at_s * 1000, value))
    assert flow.rate("mira_x_total") == pytest.approx(10 / 4)  # the last second's share of 10 a second
    assert flow.rate("mira_other_total") is None


def test_a_service_heard_for_the_first_time_has_no_rate() -> None:
    flow = Flow()
    flow.take(look(0, None))
    flow.take(look(1000, 5_000.0))
    assert flow.rate("mira_x_total") is None


@pytest.mark.parametrize("stage", ["producer", "scorer", "engine", "aggregator", "export"])
def test_a_service_that_does_not_answer_does_not_flow_however_it_did_before(stage: StageName) -> None:
    """Its last rates are still in the mean of ten seconds."""
    episode = Episode()
    flowing = episode.run(60, arriving=8, judging=14)
    assert next(one for one in flowing.stages if one.name == stage).state == "free"
    service = {"producer": "produce", "scorer": "score", "engine": "score", "aggregator": "aggregate"}.get(stage, stage)
    episode.silent[service] = "Connection refused"
    found = next(one for one in episode.run(5, arriving=8, judging=14).stages if one.name == stage)
    assert found.state == "down"
    assert f"{service} does not answer at http://127.0.0.1" in found.cause


def test_where_one_replica_of_two_answers_the_stage_is_not_said_to_flow() -> None:
    assert state_of(Reading(True, "score-2 does not answer at http://x: refused", rate_in=1.0), "free") == "busy"


@pytest.mark.parametrize(
    ("topic", "stage"),
    [
        ("mira.progress", "scorer"),
        ("mira.documents.text", "scorer"),
        ("mira.state", "aggregator"),
        ("mira.exports", "export"),
    ],
)
def test_a_transaction_that_does_not_end_is_why_a_stage_stands(topic: str, stage: StageName) -> None:
    episode = Episode()
    episode.run(60, arriving=8, judging=14)
    episode.open_s = {topic: 29.0}
    assert episode.run(5, arriving=8, judging=14).bottleneck is None
    episode.open_s = {topic: 95.0}
    found = episode.run(5, arriving=8, judging=14)
    assert found.bottleneck == stage
    said = f"a transaction in {topic} has been open for 95 s: nothing behind it can be read"
    assert next(one for one in found.stages if one.name == stage).cause == said
    assert found.notes == [f"{said}; do: {OPEN_TRANSACTION_FIX}"]


def test_a_transaction_that_holds_up_no_stage_is_the_headline_and_noted() -> None:
    episode = Episode()
    episode.open_s = {"mira.dead-letters": 95.0}
    found = episode.run(60, arriving=8, judging=14)
    assert found.bottleneck is None
    assert len(found.notes) == 1
    console = Console(width=200, record=True, file=StringIO())
    console.print(view(found, found.at_ms))
    said = console.export_text()
    assert "\na transaction in mira.dead-letters has been open for 95 s: nothing behind it can be read" in said
    assert "everything flows" not in said


def test_without_a_broker_nothing_flows() -> None:
    free = Reading(True, rate_in=4.0, fill=0.1)
    assert stand(free, None, 1, broker_away=True)[:2] == ("unknown", "the broker is away")
    stuck = free._replace(fill=1.0, full="a partition does not move: see the service's log")
    assert stand(stuck, stand(stuck, None, 1), 2, broker_away=True)[:3] == ("unknown", "the broker is away", 2)
    gone = Reading(False, "the folder of the export is gone: bring it back")
    assert stand(gone, None, 1, broker_away=True)[:2] == ("down", gone.missing)


def test_while_the_broker_is_away_it_alone_is_the_bottleneck_and_every_row_has_its_cause() -> None:
    episode = Episode()
    episode.run(60, arriving=22, judging=12)
    episode.silent["export"] = "Connection refused"
    episode.broker = BrokerRow(answers=False, since_ms=episode.now_ms, error=Trouble(code="c", cause="silent", fix="f"))
    away = episode.run(5, arriving=22, judging=12)
    assert away.bottleneck is None
    assert not any(stage.bottleneck for stage in away.stages)
    causes = {stage.name: (stage.state, stage.cause) for stage in away.stages}
    state, cause = causes.pop("export")
    assert (state, cause.startswith("export does not answer")) == ("down", True)
    assert set(causes.values()) == {("unknown", "the broker is away")}
    shown = Console(width=200, record=True, file=StringIO())
    shown.print(view(away, away.at_ms))
    text = shown.export_text()
    assert any(line.split()[:5] == ["export", "export", "does", "not", "answer"] for line in text.splitlines())
    assert not any(line.startswith("> ") for line in text.splitlines())
    assert "do: f" in text
    episode.kept = [KeptRow(name="broker", state="waits", restarts=1, died_ms=episode.now_ms, why="SIGKILL")]
    again = episode.run(5, arriving=22, judging=12).broker.error
    assert again is not None
    assert again.fix.startswith("wait: mira-stream up starts the broker again")


@given(st.lists(st.sampled_from(["free", "busy", "full", "down", "unknown"]), min_size=7, max_size=7))
def test_behind_the_bottleneck_nothing_is_full(states: list[State]) -> None:
    row: list[tuple[StageName, State]] = list(zip(STAGES, states, strict=True))
    found = bottleneck(row)
    after = states if found is None else states[STAGES.index(found) + 1 :]
    assert not {"full", "down"} & set(after)
    assert found is None or states[STAGES.index(found)] in ("full", "down")


def test_a_limit_reached_again_and_again_is_one_episode() -> None:
    now = stand(Reading(True, fill=1.0), None, 1000)
    for number, fill in enumerate((0.95, 1.0, 0.94, 0.99)):
        now = stand(Reading(True, fill=fill), now, 2000 + number)
    assert (now.state, now.since_ms) == ("full", 1000)
    now = stand(Reading(True, fill=0.8), now, 13_000)
    assert (now.state, now.since_ms) == ("busy", 13_000)
    assert state_of(Reading(True, fill=0.95), None) == "busy"
    assert state_of(Reading(False, "refused"), None) == "down"
    assert state_of(Reading(False), None) == "unknown"


def test_a_short_dip_ends_no_episode_and_does_not_make_its_cause_unknown() -> None:
    """An engine with few slots is seen with a free one now and then, a service under load misses an answer."""
    full = Reading(True, fill=1.0, cause="works on as many as it can")
    now = stand(full, None, 1000)
    for number in range(2, 60):
        now = stand(full if number % 9 == 0 else Reading(True, fill=0.3), now, number * 1000)
        assert now[:3] == ("full", full.cause, 1000)
    assert stand(Reading(False, "refused"), now, 60_000)[:3] == ("down", "refused", 60_000)
    assert stand(full, stand(Reading(False, "refused"), now, 60_000), 61_000).since_ms == 1000
    now = stand(Reading(True, fill=0.3), now, 54_000 + 10_000)
    assert (now.state, now.since_ms) == ("free", 64_000)
    assert stand(full, now, 65_000).since_ms == 65_000


@given(st.lists(st.tuples(st.integers(1, 20), st.floats(0, 1)), min_size=1, max_size=40))
def test_an_episode_ends_only_when_it_was_not_full_for_some_seconds(looks: list[tuple[int, float]]) -> None:
    now: Standing | None = None
    at_ms, seen_ms = 0, None
    for step_s, fill in looks:
        at_ms += step_s * 1000
        before, now = now, stand(Reading(True, fill=fill), now, at_ms)
        if fill >= FULL_FILL:
            assert now.state == "full"
            if seen_ms is not None and at_ms - seen_ms < HELD_MS:
                assert before is not None
                assert now.since_ms == before.since_ms
            seen_ms = at_ms
        elif now.state == "full":
            assert now.episode is not None
            assert at_ms - now.episode.seen_ms < HELD_MS


def test_the_oldest_record_is_as_old_as_its_append() -> None:
    ages = Ages()
    for at_s, (end, committed) in enumerate([(10, 10), (20, 10), (30, 10), (40, 20)]):
        positions = {PARTITION: Position(0, end, committed)}
        ages.take(at_s * 1000, positions)
    assert ages.oldest_s(3000, positions) == pytest.approx(1.0)  # offset 20 was appended by second 2
    assert ages.oldest_s(3000, {PARTITION: Position(0, 40, 40)}) == 0.0
    assert ages.oldest_s(3000, {}) is None


@given(st.integers(1, 10_000))
def test_the_ring_holds_an_hour_whatever_comes(step_s: int) -> None:
    ring = Ring()
    for number in range(600):
        ring.take(number * step_s * 1000, [Stage(name=name, state="free", cause="") for name in STAGES])
    history = ring.history()
    assert 1 <= len(history.at_ms) <= POINTS
    assert history.at_ms[-1] - history.at_ms[0] < 3_600_000
    assert all(len(lane.state) == len(history.at_ms) for lane in history.lanes)


def test_a_slow_engine_is_found_and_let_go() -> None:
    episode = Episode()
    assert episode.run(120, arriving=8, judging=14).bottleneck is None
    began_ms = episode.now_ms
    full = episode.run(600, arriving=22, judging=12)
    engine = full.stages[STAGES.index("engine")]
    assert full.bottleneck == engine.name
    assert engine.since_ms is not None
    assert began_ms < engine.since_ms < began_ms + 30_000
    assert engine.rate_out == pytest.approx(12.0)
    assert full.stages[0].state == "full"
    assert episode.run(900, arriving=1, judging=14).bottleneck is None
    assert full.looking_since_ms == BEGIN_MS + 5000


def test_a_stage_puts_out_documents_and_not_what_it_notes_beside_them() -> None:
    """A scorer's progress and an exporter's messages are no documents."""
    episode = Episode()
    episode.progress_too = True
    snapshot = episode.run(120, arriving=8, judging=14)
    rates = {stage.name: stage.rate_out for stage in snapshot.stages}
    assert rates["scorer"] == rates["export"] == pytest.approx(8.0)


def test_a_producer_is_as_full_as_its_scorer_is_behind() -> None:
    episode = Episode()
    episode.lag_max = 4_000
    producer = episode.run(600, arriving=22, judging=12).stages[0]
    assert producer.fill is not None
    assert producer.fill > 0.7
    assert Episode().run(60, arriving=8, judging=14).stages[0].fill == pytest.approx(40 / 500)


def test_requests_that_are_wrong_themselves_fill_nothing() -> None:
    episode = Episode()
    episode.wrong_per_s = 5.0
    assert episode.run(120, arriving=8, judging=14).stages[0].state == "free"


def replicated(worst: str, waits_s: float = 0.0) -> Snapshot:
    """Four scorers of one group, each with its own engine of 32 slots; `worst` is what the first of them shows."""
    observer, found = Observer(Shape("p", {"text": 32})), None
    for number in range(6):
        common = (
            'mira_in_flight_limit{stage="score.text",unit="documents"} 96\n'
            f'mira_backpressure_seconds_total{{stage="score.text",cause="broker"}} {waits_s * number * 2}\n'
            f'mira_records_in_total{{stage="score.text",topic="mira.documents.text"}} {number * 20}\n'
        )
        idle = 'mira_engine_up{group="text"} 1\nmira_in_flight{stage="score.text",unit="documents"} 1\n'
        answers = {f"score-{at}": Answer("u", parse(common + (idle if at else worst))) for at in range(4)}
        documents = {TopicPartition("mira.documents.text", 0): Position(0, 100, 100)}
        found = observer.look(Look(BEGIN_MS + number * 2000, answers, documents, {}, {}))
    assert found is not None
    return found


def engine(up: int, in_flight: int) -> str:
    return f'mira_engine_up{{group="text"}} {up}\nmira_in_flight{{stage="score.text",unit="documents"}} {in_flight}\n'


def test_of_several_engines_of_a_group_the_worst_is_shown() -> None:
    down = replicated(engine(0, 1))
    stages = {stage.name: stage for stage in down.stages}
    assert (down.bottleneck, stages["engine"].state) == ("engine", "full")
    assert "text (score-0) is not up" in stages["engine"].cause
    busy = {stage.name: stage for stage in replicated(engine(1, 32)).stages}["engine"]
    assert (busy.state, busy.fill) == ("full", 1.0)
    assert "text (score-0) works" in busy.cause


def test_replicas_that_wait_a_little_are_not_one_that_waits_most_of_the_time() -> None:
    snapshot = replicated(engine(1, 1), waits_s=0.15)
    scorer = {stage.name: stage for stage in snapshot.stages}["scorer"]
    assert scorer.waiting == pytest.approx(0.15)
    assert (scorer.state, snapshot.bottleneck) == ("busy", None)


def test_a_partition_that_stands_still_is_named_and_makes_its_stage_full() -> None:
    still = 'mira_partition_stalled{stage="score.text",topic="mira.documents.text",partition="%s"} %d\n'
    one = {stage.name: stage for stage in replicated(engine(1, 1) + still % (3, 1)).stages}["scorer"]
    assert (one.state, one.cause.split(":")[0]) == (
        "full", "mira.documents.text/3 does not move although there is work",
    )  # fmt: skip
    many = engine(1, 1) + still % ("other", 20) + still % (12, 1)
    assert replicated(many).stages[STAGES.index("scorer")].cause.startswith("mira.documents.text/12 and 20 more do not")


def test_each_producer_is_measured_against_its_own_limits() -> None:
    observer = Observer(Shape("p", {"text": 32}))
    rows = {"produce http": (2_000_000, 100), "produce watch": (80, 80)}
    answers = {
        name: Answer(
            "u",
            parse(
                f"mira_ingest_capacity 100\nmira_ingest_in_flight 0\nmira_ingest_backlog_limit {limit}\n"
                f'mira_ingest_backlog_records{{topic="mira.documents.text"}} {backlog}\n'
            ),
        )
        for name, (limit, backlog) in rows.items()
    }
    producer = observer.look(Look(BEGIN_MS, answers, {}, {}, {})).stages[0]
    assert (producer.name, producer.state, producer.fill) == ("producer", "full", 1.0)


@pytest.mark.parametrize(
    ("cause", "words"), [("broker_silent", "the broker is away"), ("rights_unknown", "rights_unknown")]
)
def test_a_producer_that_answers_503_to_all_is_down_and_says_why(cause: str, words: str) -> None:
    observer = Observer(Shape("p", {"text": 32}))
    said = (
        "mira_ingest_capacity 100\nmira_ingest_in_flight 0\n"
        f'mira_ingest_unavailable{{cause="a"}} 0\nmira_ingest_unavailable{{cause="{cause}"}} 1\n'
    )
    producer = observer.look(Look(BEGIN_MS, {"produce-http": Answer("u", parse(said))}, {}, {}, {})).stages[0]
    assert (producer.state, producer.since_ms) == ("down", BEGIN_MS)
    assert "503" in producer.cause
    assert words in producer.cause


def test_an_exporter_that_waits_for_its_folder_is_down_and_says_why() -> None:
    observer = Observer(Shape("p", {"text": 32}))
    limit = (
        'mira_in_flight_limit{stage="export",unit="documents"} 9\nmira_in_flight{stage="export",unit="documents"} 1\n'
    )

    def export(holds: int) -> Stage:
        said = f'{limit}mira_export_unavailable{{cause="disk_full"}} 0\nmira_export_unavailable{{cause="export_gone"}} '
        answers = {"export": Answer("u", parse(f"{said}{holds}\n"))}
        return observer.look(Look(BEGIN_MS, answers, {}, {}, {})).stages[-1]

    assert export(0).state == "free"
    down = export(1)
    assert (down.state, down.bottleneck) == ("down", True)
    assert "the folder of the export is gone" in down.cause


def test_what_is_decided_is_what_the_aggregator_says_and_else_as_of_an_epoch() -> None:
    """The newest of two aggregators counts: one of them has handed the source over."""
    observer = Observer(Shape("p", {"text": 32}))
    state = SourceState(
        source="web", group="text", lineage="l", mask="m", next_offset=9, epoch=4, documents=20, selected_documents=5
    )
    observer.sources.state(Record("mira.state", 0, 1, BEGIN_MS, b"k", encode(state), ()))

    def row(*said: tuple[int, float]) -> SourceRow:
        answers = {
            f"aggregate-{at}": Answer(
                "u",
                parse(f'mira_decided_documents{{source="web"}} {of}\nmira_kept_ratio{{source="web"}} {kept}\n'),
            )
            for at, (of, kept) in enumerate(said)
        }
        return observer.look(Look(BEGIN_MS, answers, {}, {}, {})).sources[0]

    nobody, both, older = row(), row((27, 0.2), (30, 0.5)), row((3, 1.0))
    assert (nobody.documents, nobody.kept, nobody.as_of_epoch) == (20, 0.25, 4)
    assert (both.documents, both.kept, both.as_of_epoch) == (30, 0.5, None)
    assert (older.documents, older.as_of_epoch) == (20, 4)
    shown = Console(width=200, record=True, file=StringIO())
    shown.print(view(observer.look(Look(BEGIN_MS, {}, {}, {}, {})), BEGIN_MS))
    assert "20 at epoch 4" in shown.export_text()
