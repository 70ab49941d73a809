"""What the real services show of quality while they run: scores, reliability, epochs, sketches, the policy."""

from pathlib import Path

from mira_stream.messages import SLOTS
from mira_stream.reliability.table import Aggregate, Cell, ModeReliability, SourceReliability, Table, save_table
from mira_stream.scoring.lineage import lineage
from mira_stream.testing.broker import MemoryBroker
from tests.flow.pipeline import Pipeline, make_project, text_row, write_rows

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
