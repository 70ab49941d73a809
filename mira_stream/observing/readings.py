"""From one look and the rates around it to a reading a stage."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from mira_stream.observing.backlog import Ages
from mira_stream.observing.facts import Answer, Look, Positions, Shape
from mira_stream.observing.flow import Flow
from mira_stream.observing.held import held, reason, stage_of
from mira_stream.observing.scraped import Series, select
from mira_stream.observing.snapshot import StageName
from mira_stream.observing.stages import BUSY_FILL, BUSY_WAITING, THROTTLED, Reading, largest
from mira_stream.streaming.bounded import OTHER

RETENTION_FULL: Final = 0.8
"""Share of a topic's retention that its oldest unread record has used up, from which the topic counts as full."""
SILENT_S: Final = 30.0
"""An engine with work that has ended none for so long is stuck."""
GROWING: Final = 1.1
RESULTS: Final = frozenset({"scores", "decisions", "dead-letters"})
"""Last parts of the topics that hold one record a document."""
WORDS: Final = {
    "documents": "as many documents as it may have are in work",
    "tokens": "as many tokens as it may have are in work",
    "bytes": "as many bytes as it may have are in work",
    "partition_span": "one document is far behind the others of its partition",
    "engine": "its engine does not take more",
    "broker": "the broker has not committed what is finished",
}
"""Why a stage admits nothing, by the label `cause` of mira_backpressure_seconds_total."""
AGAIN: Final = {
    "pipe_full": "as much as the producer may hold is not committed yet",
    "scorer_behind": "the scorer is further behind than --lag-max",
}
NEARLY: Final = {
    "pipe_full": "much of what the producer may hold is not committed yet",
    "scorer_behind": "the scorer is nearly as far behind as --lag-max allows",
}
"""Why requests are told to come again, or soon will be, by the label `cause` of mira_ingest_refused_total. Other
causes there are of a request or a file itself: nothing is full by them."""

UNAVAILABLE: Final = {
    "broker_silent": "the broker is away: it does not answer",
    "broker_unreachable": "the broker is away: nobody answers at its address",
    "not_started": "it still reads from the log which ids are there",
    "stopping": "it was told to stop",
}
"""Why every request is answered 503, by the label `cause` of mira_ingest_unavailable; other causes speak for
themselves."""

NO_FOLDER: Final = {
    "disk_full": "no space is left for the export",
    "export_gone": "the folder of the export is gone: bring it back",
    "export_silent": "the file system of the export does not answer",
    "export_unwritable": "the folder of the export cannot be written to",
}
"""Why the exporter waits, by the label `cause` of mira_export_unavailable."""


class Seen(NamedTuple):
    """What readings are made of."""

    look: Look
    flow: Flow
    ages: Ages
    shape: Shape

    def gauges_at(self, name: str, **labels: str) -> Iterator[tuple[str, Series, float]]:
        """With the name of the service that shows it: replicas of a service show the same series."""
        for service, answer in self.look.answers.items():
            if answer.scrape is not None:
                for series, value in select(answer.scrape, name, **labels):
                    yield service, series, value

    def gauges(self, name: str, **labels: str) -> Iterator[tuple[Series, float]]:
        for _, series, value in self.gauges_at(name, **labels):
            yield series, value

    def gauge(self, name: str, **labels: str) -> float | None:
        """The largest of them."""
        return max((value for _, value in self.gauges(name, **labels)), default=None)

    def held(self) -> dict[str, float]:
        """Topics with a transaction that should have ended, and for how many seconds it has been open."""
        shown = self.gauges("mira_open_transaction_seconds")
        return held((series.label("topic"), value) for series, value in shown)

    def silent(self, service: str) -> str:
        """What is wrong with a service that is known and does not answer; empty if it answers or is not known."""
        for name, answer in self._of(service):
            if answer.scrape is None:
                return f"{name} does not answer at {answer.url}: {answer.error}"
        return ""

    def mute(self, service: str) -> bool:
        """Whether none of its replicas answers: rates that are left of it are of the time before."""
        return not any(answer.scrape is not None for _, answer in self._of(service))

    def _of(self, service: str) -> Iterator[tuple[str, Answer]]:
        for name, answer in self.look.answers.items():
            if name.split("-")[0].split("@")[0] == service:
                yield name, answer


def readings(seen: Seen) -> dict[StageName, Reading]:
    found = _readings(seen)
    for topic, seconds in seen.held().items():
        stage = stage_of(topic)
        if stage is not None and found[stage].heard:
            found[stage] = found[stage]._replace(full=reason(topic, seconds))
    return found


def _readings(seen: Seen) -> dict[StageName, Reading]:
    return {
        "producer": _producer(seen),
        "documents": _topic(seen, seen.look.documents, "score.*", _produced(seen)),
        "scorer": _worker(seen, "score", "score.*"),
        "engine": _engine(seen),
        "scores": _topic(seen, seen.look.scores, "aggregate", _written(seen, "score.*", seen.look.scores)),
        "aggregator": _worker(seen, "aggregate", "aggregate"),
        "export": _export(seen),
    }


def _topics(positions: Positions) -> list[str]:
    return sorted({partition.topic for partition in positions})


def _written(seen: Seen, stage: str, positions: Positions) -> float | None:
    """What the stage's services say they wrote, else what the log grew by."""
    said = [seen.flow.rate("mira_records_out_total", stage=stage, topic=topic) for topic in _topics(positions)]
    known = [rate for rate in said if rate is not None]
    return sum(known) if known else seen.flow.appended(*_topics(positions))


def _produced(seen: Seen) -> float | None:
    said = seen.flow.rate("mira_ingest_documents_total", outcome="accepted")
    return seen.flow.appended(*_topics(seen.look.documents)) if said is None else said


def _producer(seen: Seen) -> Reading:
    out = _produced(seen)
    silent = seen.silent("produce")
    away = _trouble(seen, "mira_ingest_unavailable")
    if away:
        return Reading(False, f"requests are answered 503: {UNAVAILABLE.get(away, away)}", rate_out=out)
    asked = seen.flow.rate("mira_ingest_documents_total")
    if seen.gauge("mira_ingest_capacity") is None and (asked is None or (silent and seen.mute("produce"))):
        if silent or not seen.look.documents:
            return Reading(False, silent, rate_out=out)
        return Reading(True, rate_out=out, cause="no producer with metrics: rates from the log")
    again = {
        cause: rate
        for cause, rate in _by_label(seen.flow.rates("mira_ingest_refused_total"), "cause").items()
        if cause in AGAIN
    }
    refused = largest(again)
    held = _fullest(seen, "mira_ingest_in_flight", "mira_ingest_capacity")
    behind = _fullest(seen, "mira_ingest_backlog_records", "mira_ingest_backlog_limit")
    cause = "pipe_full" if (held or 0.0) >= (behind or 0.0) else "scorer_behind"
    fill = max((one for one in (held, behind) if one is not None), default=None)
    unread = sum(value for _, value in seen.gauges("mira_ingest_files_refused"))
    said = f"{unread:.0f} files of its folder are not read on: its log says why" if unread else ""
    full = f"{refused[1]:.1f} requests a second are told to come again: {AGAIN[refused[0]]}" if refused else ""
    return Reading(
        True, silent, rate_in=asked, rate_out=out, fill=fill, full=full, cause=_held(fill, NEARLY[cause]) or said
    )


def _trouble(seen: Seen, name: str) -> str:
    """The cause that holds now; empty if none does."""
    return next((series.label("cause") for series, holds in seen.gauges(name) if holds), "")


def _fullest(seen: Seen, taken: str, limit: str) -> float | None:
    """What is taken of its limit by the service that is nearest to it, each against its own; None: none has a limit."""
    limits = {service: value for service, _, value in seen.gauges_at(limit) if value}
    shares = [min(1.0, value / limits[service]) for service, _, value in seen.gauges_at(taken) if service in limits]
    return max(shares, default=None)


def _waiting(seen: Seen, stage: str) -> float:
    """Share of time in which the stage could admit nothing: the mean of its replicas, of several stages the most."""
    shown = seen.gauges_at("mira_in_flight_limit", stage=stage)
    replicas = Counter(name for _, name in {(at, series.label("stage")) for at, series, _ in shown})
    waits = _by_label(seen.flow.rates("mira_backpressure_seconds_total", stage=stage), "stage")
    return min(1.0, max((wait / max(1, replicas[name]) for name, wait in waits.items()), default=0.0))


def _topic(seen: Seen, positions: Positions, reader: str, rate_in: float | None) -> Reading:
    if not positions:
        return Reading(False)
    topics = _topics(positions)
    said = [seen.flow.rate("mira_records_in_total", stage=reader, topic=topic) for topic in topics]
    known = [rate for rate in said if rate is not None]
    rate_out = sum(known) if known else None
    backlog = sum(position.waiting for position in positions.values())
    lags = [lag for topic in topics if (lag := seen.gauge("mira_lag_seconds", topic=topic)) is not None]
    age = max(lags) if lags else seen.ages.oldest_s(seen.look.at_ms, positions)
    headroom = [
        value for topic in topics for _, value in seen.gauges("mira_retention_headroom_ratio", topic=topic)
    ]  # fmt: skip
    used = 1.0 - min(headroom) if headroom else None
    full = f"unread for {used:.0%} of the topic's retention" if used is not None and used >= RETENTION_FULL else ""
    grows = bool(backlog) and rate_in is not None and rate_out is not None and rate_in > GROWING * rate_out
    held = bool(backlog) and _waiting(seen, reader) >= BUSY_WAITING
    words = "waits to be read"
    if held:
        words = "its reader has no room"
    if grows:
        words += f"; grows by {(rate_in or 0) - (rate_out or 0):.1f} a second"
    pressed = THROTTLED if grows or held else None
    return Reading(True, rate_in=rate_in, rate_out=rate_out, fill=used, full=full, pressed=pressed,
                   cause=words if backlog else "", backlog=backlog, backlog_s=age)  # fmt: skip


def _worker(seen: Seen, service: str, stage: str) -> Reading:
    rate_in = seen.flow.rate("mira_records_in_total", stage=stage)
    limits = {(at, series.labels): value for at, series, value in seen.gauges_at("mira_in_flight_limit", stage=stage)}
    fills: dict[str, float] = {}
    for at, series, value in seen.gauges_at("mira_in_flight", stage=stage):
        if most := limits.get((at, series.labels)):
            unit = series.label("unit")
            fills[unit] = max(fills.get(unit, 0.0), value / most)
    silent = seen.silent(service)
    if (silent and seen.mute(service)) or (not fills and rate_in is None):
        return Reading(False, silent)
    waits = seen.flow.rates("mira_backpressure_seconds_total", stage=stage)
    why = largest(_by_label(waits, "cause"))
    fullest = max(fills, key=lambda unit: fills[unit], default="")
    fill = min(1.0, fills[fullest]) if fullest else None
    by_fill = _held(fill, WORDS.get(fullest, fullest))
    cause = WORDS.get(why[0], why[0]) if why is not None and why[0] else by_fill
    pressed = seen.gauge("mira_backpressure_state", stage=stage)
    # An Export stands for many documents: what the exporter reads, in order, is what it writes.
    rate_out = rate_in if service == "export" else _ended(seen, stage)
    return Reading(True, silent, rate_in=rate_in, rate_out=rate_out, fill=fill, waiting=_waiting(seen, stage),
                   pressed=pressed, full=_stuck(seen, stage), cause=cause)  # fmt: skip


def _stuck(seen: Seen, stage: str) -> str:
    """The partitions that do not move although they have work, however much the others do."""
    counts: Counter[tuple[str, str]] = Counter()
    for series, value in seen.gauges("mira_partition_stalled", stage=stage):
        counts[series.label("topic"), series.label("partition")] += int(value)
    if not counts:
        return ""
    topic, partition = min(counts, key=lambda one: (one[1] == OTHER, one))
    more = counts.total() - 1
    others = f" and {more} more do" if more else " does"
    return f"{topic}/{partition}{others} not move although there is work: see the service's log"


def _export(seen: Seen) -> Reading:
    reading = _worker(seen, "export", "export")
    if trouble := _trouble(seen, "mira_export_unavailable"):
        return reading._replace(heard=False, missing=f"{NO_FOLDER.get(trouble, trouble)}; its log says where")
    return reading


def _ended(seen: Seen, stage: str) -> float | None:
    """Documents a second to which the stage has put an end: not what it notes down beside them."""
    rates = seen.flow.rates("mira_records_out_total", stage=stage)
    ended = [rate for series, rate in rates.items() if series.label("topic").rpartition(".")[2] in RESULTS]
    return sum(ended) if rates else None


def _engine(seen: Seen) -> Reading:
    """Each replica of a scorer has its own engine; the one that stands worst is what is shown."""
    up = {(at, series.label("group")): value for at, series, value in seen.gauges_at("mira_engine_up")}
    silent = seen.silent("score")
    if not up:
        return Reading(False, silent)
    named = _named(up)
    cold = sorted(named[engine] for engine, value in up.items() if not value)
    not_up = f"the engine of {', '.join(cold)} is not up: it loads, or see the scorer's log"
    if len(cold) == len(up):
        return Reading(False, not_up)
    asked = {
        (at, series.label("stage").removeprefix("score.")): value
        for at, series, value in seen.gauges_at("mira_in_flight", stage="score.*", unit="documents")
    }
    slots = seen.shape.slots
    fills = {engine: min(1.0, asked.get(engine, 0.0) / slots[engine[1]]) for engine in up if engine[1] in slots}
    most = max(fills, key=lambda engine: fills[engine], default=None)
    fill = fills[most] if most is not None else None
    ages = [
        (value, named[engine])
        for at, series, value in seen.gauges_at("mira_engine_progress_age_seconds")
        if asked.get(engine := (at, series.label("group"))) and engine in named
    ]
    full = not_up if cold else ""
    if not full and ages and max(ages)[0] > SILENT_S:
        full = f"the engine of {max(ages)[1]} has ended nothing for {max(ages)[0]:.0f} s"
    answers = seen.flow.rate("mira_engine_seconds_count")
    took, spent = answers or 0.0, seen.flow.rate("mira_engine_seconds_sum") or 0.0
    slow = f"; one takes {spent / took:.1f} s" if took > 0 else ""
    works = f"the engine of {named[most]} works on as many documents as it can at once{slow}" if most else ""
    rate_in = seen.flow.rate("mira_records_in_total", stage="score.*")
    return Reading(True, silent, rate_in=rate_in, rate_out=answers, fill=fill, full=full, cause=_held(fill, works))


def _named(engines: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """An engine is called by its group; where a group has several, by its service, too."""
    of = Counter(group for _, group in engines)
    return {(at, group): group if of[group] == 1 else f"{group} ({at})" for at, group in engines}


def _held(fill: float | None, words: str) -> str:
    """The words, if it is fuller than free."""
    return words if fill is not None and fill >= BUSY_FILL else ""


def _by_label(rates: dict[Series, float], label: str) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for series, rate in rates.items():
        sums[series.label(label)] += rate
    return dict(sums)
