"""What the real services show of quality while they run: scores, reliability, epochs, sketches, the policy."""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from mira_stream.messages import SLOTS
from mira_stream.reliability.table import Aggregate, Cell, ModeReliability, SourceReliability, Table, save_table
from mira_stream.scoring.lineage import lineage
from mira_stream.streaming.ingest_metrics import IngestMetrics
from mira_stream.testing.broker import MemoryBroker
from tests.flow.pipeline import Pipeline, make_project, text_row, write_rows
from tests.machine import ROOT

DOCUMENTS = 40


async def test_quality_by_group_slot_and_source(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    cell = Cell(n=200, mae=0.5, rho=0.8, mae_hi=0.6, rho_lo=0.7, skill=0.4, bias=0.0, verdict="reliable")
    source = SourceReliability(
        n=200, aggregate=Aggregate(rho=0.8, overlap=0.8, gain=0.8), dimensions=dict.fromkeys(SLOTS, cell)
    )
    measured = ModeReliability(lineage=lineage(project, "text"), means=[6.0] * 15, sources={"*": source})
    table = Table(
        group="text", rubric="r", labels_sha256="", split="heldout", limits=project.settings.mask.limits,
        modes={"scores": measured},
    )  # fmt: skip
    project.reliability_path("text").parent.mkdir()
    save_table(project.reliability_path("text"), table)
    write_rows(tmp_path / "notes.jsonl", [text_row(number) for number in range(DOCUMENTS)])
    write_rows(tmp_path / "questions.jsonl", [])
    pipeline = Pipeline(project, MemoryBroker(), tmp_path / "out")
    await pipeline.prepare()
    await pipeline.produce()
    pipeline.start("score")
    pipeline.start("aggregate")
    await pipeline.until(lambda: pipeline.count("decisions") == DOCUMENTS)
    await pipeline.shut_down()

    def value(name: str, **labels: str) -> float | None:
        return pipeline.metrics.registry.get_sample_value(name, labels)

    decisions = pipeline.decisions()
    scores = [decision.scores[6] for decision in decisions if decision.scores[6] is not None]
    assert value("mira_score_count", group="text", slot="A7") == len(scores)
    assert value("mira_score_sum", group="text", slot="A7") == sum(scores)
    assert value("mira_score_bucket", group="text", slot="A7", le="5.0") == sum(score <= 5 for score in scores)
    assert value("mira_score_unread_total", group="text", slot="A7") == DOCUMENTS - len(scores)
    assert value("mira_mask_reliability", group="text", slot="A7", over="worst") == 0.8
    newest = max(decisions, key=lambda decision: decision.epoch)
    assert value("mira_epoch", source="notes") == newest.epoch
    assert (value("mira_sketch_n", source="notes") or 0) > 0
    assert value("mira_policy_version") == max(record.offset for record in pipeline.broker.records("mira.policy"))


NOT_FROM_THE_START = {
    "mira_broker_disk_free_ratio": "a broker in memory has no disk",
    "mira_cascade_documents": "mode cascade alone",
    "mira_decided_documents": "by source",
    "mira_decisions": "by source",
    "mira_epoch": "by source",
    "mira_epoch_threshold": "by source",
    "mira_event_time_ahead": "by source",
    "mira_export_content_errors": "by source",
    "mira_kept_ratio": "by source",
    "mira_late_documents": "by source",
    "mira_mask_reliability": "without a table nothing is known",
    "mira_partition_stalled": "only what stands still has a series",
    "mira_records_out": "by topic: what a stage may write is known when it writes",
    "mira_reply_repairs": "by the name of a repair",
    "mira_retention_headroom_ratio": "kept for ever",
    "mira_committed_headroom_ratio": "kept for ever",
    "mira_score": "by slot, with the first card",
    "mira_score_unread": "by slot, with the first card",
    "mira_shadow_stands_back": "a shadow alone",
    "mira_sketch_n": "by source",
    "mira_window_drifted": "by source",
    "mira_windows": "by source",
}


async def test_what_can_be_zero_is_zero_before_the_first_document(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    pipeline = Pipeline(project, MemoryBroker(), tmp_path / "out")
    await pipeline.prepare()
    for service in ("score", "aggregate", "export"):
        pipeline.start(service)
    empty: set[str] = set()

    def all_there() -> bool:
        families = {family.name: len(family.samples) for family in pipeline.metrics.registry.collect()}
        empty.clear()
        empty.update(name for name, samples in families.items() if not samples)
        return empty <= NOT_FROM_THE_START.keys() and families["mira_engine_up"] == 2

    try:
        await pipeline.until(all_there)
    except TimeoutError:
        raise AssertionError(f"no sample: {sorted(empty - NOT_FROM_THE_START.keys())}") from None
    read = pipeline.metrics.registry.get_sample_value
    assert read("mira_commits_total", {"stage": "export", "outcome": "failed"}) == 0
    assert read("mira_dead_letters_total", {"stage": "score", "reason": "engine_refused"}) == 0
    assert read("mira_engine_restarts_total", {"group": "qa", "cause": "stalled"}) == 0
    await pipeline.shut_down()


def test_what_a_producer_can_refuse_is_zero_from_the_start() -> None:
    registry = CollectorRegistry()
    metrics = IngestMetrics(registry)
    metrics.unavailable(lambda: None)
    metrics.begin("http")
    assert [family.name for family in registry.collect() if not family.samples] == ["mira_ingest_backlog_records"]
    shown = {sample.labels["cause"] for family in registry.collect() for sample in family.samples
             if sample.name == "mira_ingest_refused_total"}  # fmt: skip
    code = re.compile(r'(?:Refusal\(\d+, |_refuse\(|_error\(scope, \d+, |TOKEN_WRONG: Final = )"([a-z_]+)"')
    told = {one for path in (ROOT / "mira_stream" / "http").glob("*.py") for one in code.findall(path.read_text())}
    assert len(told) > 10
    assert told <= shown
