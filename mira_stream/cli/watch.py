"""`mira-stream reliability watch`: a share of what streams goes to the teacher, too; cells that fail raise an alarm."""

import asyncio
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mira_stream.cli.options import (
    BootstrapOption,
    JsonOption,
    MaxCostOption,
    MaxTokensOption,
    MetricsPortOption,
    ProjectOption,
)

if TYPE_CHECKING:
    from mira_stream.config import Project
    from mira_stream.consumers.watcher import Plan
    from mira_stream.reliability.monitor import Status
    from mira_stream.reliability.proposal import Proposal
    from mira_stream.teaching import Budget
    from mira_stream.watching.follower import LabelFollower

GroupsOption = Annotated[
    list[str] | None, typer.Option("--group", "-g", help="A source group to watch; again for more. Default: all.")
]
ShareOption = Annotated[
    float, typer.Option("--share", help="Share of the decided documents: half uniformly, half near the threshold.")
]
OnceOption = Annotated[
    bool, typer.Option("--once", help="End when all decisions that are there now are looked at, and close all windows.")
]
SpanOption = Annotated[
    float, typer.Option("--span-minutes", min=0.01, help="Windows are made of whole spans of so many minutes.")
]


def watch(
    project: ProjectOption = Path(),
    group: GroupsOption = None,
    share: ShareOption = 0.02,
    once: OnceOption = False,
    span_minutes: SpanOption = 60.0,
    max_cost: MaxCostOption = None,
    max_tokens: MaxTokensOption = None,
    bootstrap_servers: BootstrapOption = None,
    metrics_port: MetricsPortOption = 0,
    json: JsonOption = False,
) -> None:
    """Let the teacher judge a share of what streams, too, and raise an alarm for cells that it contradicts.

    A proposal for the mask is printed with the command that would put it in force; nothing is applied. The
    stream never waits for the watch: with a slow teacher the watch lags behind on a consumer group of its own.
    """
    from mira_stream.cli.output import emit
    from mira_stream.cli.services import chosen_groups
    from mira_stream.cli.teachers import teacher_budget, teacher_price
    from mira_stream.config import load_project
    from mira_stream.consumers.watcher import Plan
    from mira_stream.streaming.service import run_service
    from mira_stream.watching.sampling import sampling

    loaded = load_project(project)
    chosen = sampling(share, loaded.settings.retention.band)
    plan = Plan(chosen_groups(loaded, group), chosen, max(1, round(span_minutes * 60_000)), once)
    budget = teacher_budget(teacher_price(loaded), max_cost, max_tokens)
    found = run_service(lambda stop: _watch(loaded, plan, budget, bootstrap_servers, metrics_port, stop))
    report = report_of(loaded, *found)
    show(report)
    if json:
        emit(report)


async def _watch(
    project: "Project", plan: "Plan", budget: "Budget", bootstrap_servers: str | None, port: int, stop: asyncio.Event
) -> "tuple[Status, LabelFollower]":
    from mira_stream.cli.connect import connect
    from mira_stream.cli.services import operated
    from mira_stream.cli.teachers import Spent, open_teacher, teacher_limits, teacher_price
    from mira_stream.consumers.watcher import watch as run
    from mira_stream.streaming.metrics import Metrics
    from mira_stream.streaming.topics import topic_specs
    from mira_stream.teaching import Journal
    from mira_stream.watching.desk import Desk
    from mira_stream.watching.ports import WatchMetrics

    metrics, price = Metrics(), teacher_price(project)
    path = project.root / "work" / f"watch-{'+'.join(sorted(plan.groups))}.journal"
    async with operated(metrics, port, stop):
        broker = connect(project, bootstrap_servers)
        try:
            await broker.create_topics(topic_specs(project), project.settings.topics.replication_factor)
            async with open_teacher(project, groups=plan.groups) as teacher:
                with Journal(path, {"answers": "watch"}) as journal, Spent(price) as spent:

                    def open_desk(paid: tuple[int, int], counts: WatchMetrics) -> Desk:
                        limits = teacher_limits(project)
                        return Desk(
                            teacher, journal, limits, budget, price, counts,
                            patient=not plan.once, spent=paid, progress=spent.hear,
                        )  # fmt: skip

                    found: tuple[Status, LabelFollower] = await run(project, broker, plan, open_desk, metrics, stop)
                    return found
        finally:
            await broker.close()


def report_of(project: "Project", status: "Status", labels: "LabelFollower") -> dict[str, Any]:
    """All that --json says."""
    from mira_stream.cli.teachers import teacher_price
    from mira_stream.reliability.proposal import proposals

    settings = project.settings
    unanswered = dict(sorted(labels.unanswered.items()))
    return {
        "labels": {"answered": labels.answered, "unanswered": unanswered},
        "tokens": {"prompt": labels.prompt_tokens, "generation": labels.generation_tokens},
        "cost": round(teacher_price(project).of(labels.prompt_tokens, labels.generation_tokens), 6),
        "cells": [_cell(cell) for cell in status.cells],
        "alarms": [f"{cell.unit.source}/{cell.slot}" for cell in status.alarms],
        "events": [
            {"at_ms": event.at_ms, "source": event.unit.source, "dimension": event.slot, "alarm": event.alarm,
             "raised": event.raised} for event in status.events
        ],
        "proposals": [
            {**one.as_json(), "command": _policy_command(project, one) if one.enough else None}
            for one in proposals(status.cells, settings.sources, settings.mask.dimensions_min)
        ],
    }  # fmt: skip


def show(report: dict[str, Any]) -> None:
    """The same for people."""
    from mira_stream.cli.output import talk

    labels = report["labels"]
    unanswered = ", ".join(f"{count} {reason}" for reason, count in labels["unanswered"].items())
    talk.print(
        f"{labels['answered']} documents labelled{f'; without an answer: {unanswered}' if unanswered else ''};"
        f" {report['tokens']['prompt']} prompt and {report['tokens']['generation']} generation tokens,"
        f" cost {report['cost']:g}",
        markup=False,
        soft_wrap=True,
    )
    if not report["cells"]:
        talk.print("no window is full yet: each needs 100 labels of a source")
    for source in dict.fromkeys(cell["source"] for cell in report["cells"]):
        own = [cell for cell in report["cells"] if cell["source"] == source]
        rhos = " ".join("--" if cell["rho"] is None else f"{cell['rho']:.2f}" for cell in own)
        maes = " ".join("--" if cell["mae"] is None else f"{cell['mae']:.2f}" for cell in own)
        talk.print(f"{source:16} n {max(cell['n'] for cell in own):4}  rho {rhos}", markup=False, soft_wrap=True)
        talk.print(f"{'':23}  mae {maes}", markup=False, soft_wrap=True)
    for one in report["proposals"]:
        note = one["policy"].get("note", "")
        talk.print(f"alarm: {one['source']}: {note}", style="bold red", markup=False, soft_wrap=True)
        if not one["enough"]:
            talk.print(
                f"  a mask would leave {one['dimensions_left']} dimensions, too few to judge by, and be refused:"
                " train the student anew, or move the source to another group",
                markup=False,
                soft_wrap=True,
            )
            continue
        talk.print("  proposed, for you to decide; while everything runs:", markup=False)
        talk.print(f"    {one['command']}", markup=False, soft_wrap=True)
        talk.print("  and in mira.toml, for a stream that is set up anew:", markup=False)
        for line in one["toml"].splitlines():
            talk.print(f"    {line}", markup=False, soft_wrap=True)


def _policy_command(project: "Project", one: "Proposal") -> str:
    """What changes the mask of the running stream; what was asked of the source before stays."""
    words = ["mira-stream", "policy", "set", f"source:{one.source}"]
    for flag, slots in (("--mask-remove", one.policy.mask_remove), ("--mask-add", one.policy.mask_add)):
        for slot in slots or ():
            words += [flag, slot]
    return shlex.join([*words, "--project", str(project.root)])


def _cell(cell: Any) -> dict[str, Any]:
    window = cell.window
    return {
        "source": cell.unit.source,
        "dimension": cell.slot,
        "lineage": cell.unit.lineage,
        "mask": cell.unit.mask,
        "teacher": cell.unit.teacher,
        "used": cell.used,
        "n": window.n,
        "n_eff": window.n_eff,
        "mae": window.mae,
        "mae_bounds": [window.mae_lo, window.mae_hi],
        "rho": window.rho,
        "rho_bounds": [window.rho_lo, window.rho_hi],
        "alarm": cell.alarm,
        "since_ms": cell.since_ms,
    }
