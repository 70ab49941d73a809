"""A made-up episode, fed to the real Observer: an hour in which a slow engine fills the stream. No service runs."""

import base64
from collections.abc import Mapping

from mira_stream.messages import SLOTS, DeadLetter, Epoch, Mark, Mask, SourceState, Wire, encode
from mira_stream.observing.facts import Answer, Look, Position, Shape
from mira_stream.observing.heat import heat_rows
from mira_stream.observing.observer import NOT_ASKED, Observer
from mira_stream.observing.scraped import parse
from mira_stream.observing.snapshot import KeptRow, Snapshot
from mira_stream.records import Record, TopicPartition
from mira_stream.reliability.table import Aggregate, Cell, ModeReliability, SourceReliability, Table
from mira_stream.sections import MaskLimits
from mira_stream.window_messages import Drift, WindowQuality, WindowSummary

BEGIN_MS = 1_760_000_000_000
STEP_S = 5
DOCUMENTS, SCORES, DECISIONS = (TopicPartition(f"mira.{name}", 0) for name in ("documents.text", "scores", "decisions"))
SHAPE = Shape("crawl-2026", {"text": 32})
SOURCES = {"stdlib": 48.0, "distdocs": 57.0, "old-crawl": 66.0}


def exposition(values: Mapping[str, float]) -> str:
    """Lines of `name{labels} value` as a text of Prometheus' format."""
    return "".join(f"{series} {value}\n" for series, value in values.items())


class Episode:
    """Documents come at `arriving` a second, and the engine judges `judging` a second; 96 documents fit in flight."""

    def __init__(self) -> None:
        self.observer = Observer(SHAPE)
        self.now_ms = BEGIN_MS
        self.produced = self.scored = self.waited = self.refused = self.wrong = 0.0
        self.silent: dict[str, str] = {}
        """Services that do not answer, with what happens instead."""
        self.open_s: dict[str, float] = {}
        """Topics with a transaction that is open for so long."""
        self.broker = NOT_ASKED
        self.kept: list[KeptRow] = []
        self.lag_max, self.wrong_per_s, self.progress_too = 0, 0.0, False
        for record in log():
            topic = record.topic
            take = {"epochs": self.observer.sources.epoch, "windows": self.observer.sources.window,
                    "state": self.observer.sources.state, "policy": self.observer.sources.policy,
                    "dead-letters": self.observer.letters.take}[topic]  # fmt: skip
            take(record)

    def run(self, seconds: int, arriving: float, judging: float) -> Snapshot:
        """The Snapshot at the end of so many seconds."""
        snapshot = None
        for _ in range(seconds // STEP_S):
            snapshot = self.step(arriving, judging)
        assert snapshot is not None
        return snapshot

    def step(self, arriving: float, judging: float) -> Snapshot:
        self.now_ms += STEP_S * 1000
        self.wrong += self.wrong_per_s * STEP_S
        waiting = self.produced - self.scored
        if waiting > 3_000:
            self.refused += max(0.0, arriving - judging) * STEP_S
            arriving = min(arriving, judging)
        self.produced += arriving * STEP_S
        self.scored = min(self.produced, self.scored + judging * STEP_S)
        in_flight = min(96.0, self.produced - self.scored)
        full = in_flight >= 96
        self.waited += STEP_S * 0.9 if full else 0.0
        answers = {
            "produce": answer(8401, self._producer(waiting)),
            "score": answer(8402, self._scorer(in_flight, full)),
            "aggregate": answer(
                8403,
                worker("aggregate", "mira.scores", "mira.decisions", self.scored, 4.0, 10_000)
                | {f'mira_open_transaction_seconds{{topic="{topic}"}}': value for topic, value in self.open_s.items()},
            ),
            "export": answer(8404, worker("export", "mira.decisions", "mira.exports", self.scored, 40.0, 20_000)),
            "watch": Answer("http://127.0.0.1:8405", None, "Connection refused"),
        }
        answers |= {name: Answer(answers[name].url, None, error) for name, error in self.silent.items()}
        ends = int(self.produced), int(self.scored)
        look = Look(
            self.now_ms,
            answers,
            {DOCUMENTS: Position(0, ends[0], ends[1])},
            {SCORES: Position(0, ends[1], ends[1])},
            {DECISIONS: Position(0, ends[1], ends[1])},
        )
        heat = heat_rows({"text": table()}, {"text": lambda _: "scores"}, {"text": SOURCES}, self.observer.sources)
        return self.observer.look(look, heat, kept=self.kept, broker=self.broker)

    def _producer(self, waiting: float) -> dict[str, float]:
        return {
            'mira_ingest_documents_total{feed="http",outcome="accepted"}': self.produced,
            'mira_ingest_refused_total{cause="scorer_behind"}': self.refused,
            'mira_ingest_refused_total{cause="documents_invalid"}': self.wrong,
            "mira_ingest_backlog_limit": self.lag_max,
            'mira_ingest_backlog_records{topic="mira.documents.text"}': waiting,
            "mira_ingest_capacity": 500,
            "mira_ingest_in_flight": 500 if waiting > 3_000 else 40,
        }

    def _scorer(self, in_flight: float, full: bool) -> dict[str, float]:
        made = worker("score.text", "mira.documents.text", "mira.scores", self.scored, in_flight, 96)
        return {
            **made,
            **(
                {'mira_records_out_total{stage="score.text",topic="mira.progress"}': self.scored}
                if self.progress_too
                else {}
            ),
            'mira_backpressure_seconds_total{stage="score.text",cause="documents"}': self.waited,
            'mira_backpressure_state{stage="score.text"}': 2.0 if full else 0.0,
            'mira_engine_up{group="text"}': 1.0,
            'mira_engine_seconds_count{group="text"}': self.scored,
            'mira_engine_seconds_sum{group="text"}': self.scored * (7.8 if full else 1.1),
            'mira_dead_letters_total{stage="score",reason="too_long"}': 3.0,
        }


def worker(stage: str, read: str, written: str, done: float, in_flight: float, limit: float) -> dict[str, float]:
    return {
        f'mira_records_in_total{{stage="{stage}",topic="{read}"}}': done + in_flight,
        f'mira_records_out_total{{stage="{stage}",topic="{written}"}}': done,
        f'mira_in_flight{{stage="{stage}",unit="documents"}}': in_flight,
        f'mira_in_flight_limit{{stage="{stage}",unit="documents"}}': limit,
        **{f'mira_decisions_total{{source="{source}",decision="keep"}}': done / 3 for source in SOURCES},
    }


def answer(port: int, values: Mapping[str, float]) -> Answer:
    return Answer(f"http://127.0.0.1:{port}", parse(exposition(values)))


def log() -> list[Record]:
    """What the log holds of three sources; the third has drifted."""
    made: list[Record] = []

    def say(topic: str, message: Wire, at_ms: int = BEGIN_MS) -> None:
        made.append(Record(topic, 0, len(made), at_ms, b"*", encode(message)))

    say("policy", Mask(mask="m1", group="text", source="*", lineage="l1", dimensions=list(SLOTS[:12]),
                       means=[5.0] * 15, trim=0.1))  # fmt: skip
    for number, (source, mean) in enumerate(SOURCES.items()):
        for epoch in range(12):
            moved = mean + 6 * (0.5 ** (epoch / 3)) * (-1) ** epoch
            say("epochs", epoch_of(source, epoch, moved), BEGIN_MS + epoch * 60_000)
        cells = {str(cell): 2.718 ** (-(((cell / 10 - mean) / 14) ** 2)) for cell in range(0, 1001, 5)}
        taken = 400 + 90 * number
        say("state", SourceState(source=source, group="text", lineage="l1", mask="m1", next_offset=9, epoch=12, n=900.0,
                                 documents=1000 + number, tokens=1, selected_documents=taken, cells=cells))  # fmt: skip
        say("windows", window_of(source, mean, drifted=number == 2))
    for number in range(9):
        say("dead-letters", letter(number), BEGIN_MS + number * 1000)
    return made


def epoch_of(source: str, number: int, keep: float) -> Epoch:
    return Epoch(
        epoch_of=source, group="text", lineage="l1", mask="m1", epoch=number, cause="count", first_offset=0, policy=0,
        basis="prior" if number < 2 else "source", n=100, weight=100.0, target=0.5, target_corrected=0.5,
        keep=Mark(value=round(keep, 1), tie_fraction=0.5), drop=Mark(value=round(keep - 5, 1), tie_fraction=0.5),
    )  # fmt: skip


def window_of(source: str, mean: float, *, drifted: bool) -> WindowSummary:
    quality = WindowQuality(mean=mean, p05=mean - 20, p25=mean - 9, p50=mean, p75=mean + 9, p95=mean + 20)
    return WindowSummary(
        source=source, group="text", lineage="l1", start_ms=0, end_ms=BEGIN_MS, revision=1, documents=600, tokens=1,
        keep=250, downsample=100, drop=250, selected_documents=300, selected_tokens=1, quality=quality,
        dimension_means=[5.0] * 15, null_counts=[0] * 15, mask="m1", drifted=drifted,
        drift=Drift(ks_d=0.24 if drifted else 0.03, w1=5.1 if drifted else 0.4),
    )  # fmt: skip


def letter(number: int) -> DeadLetter:
    reasons = ("wrong_format", "too_long", "reply_unreadable")
    return DeadLetter(
        stage="score", reason=reasons[number % 7 % 3], error="no assistant turn: <b>role</b> missing",
        id=f"crawl/2026/{number:04}", source="old-crawl", head=base64.b64encode(b"x").decode(),
    )  # fmt: skip


def table() -> Table:
    def cells(shift: float) -> dict[str, Cell]:
        maes = [round(0.42 + 0.055 * ((i * 7 + shift * 13) % 15), 2) for i in range(15)]
        return {
            slot: Cell(n=200, mae=mae, rho=None if i == 14 else round(1.0 - mae / 3, 2), mae_hi=mae + 0.1, rho_lo=0.5,
                       skill=0.4, bias=0.0, verdict="reliable" if i < 12 else "unreliable")
            for i, (slot, mae) in enumerate(zip(SLOTS, maes, strict=True))
        }  # fmt: skip

    def one(shift: float) -> SourceReliability:
        return SourceReliability(n=200, aggregate=Aggregate(rho=0.9, overlap=0.9, gain=0.9), dimensions=cells(shift))

    sources = {"*": one(0), "stdlib": one(1), "distdocs": one(2)}
    mode = ModeReliability(lineage="l1", means=[5.0] * 15, sources=sources)
    return Table(
        group="text", rubric="r", labels_sha256="", split="heldout", limits=MaskLimits(), modes={"scores": mode}
    )
