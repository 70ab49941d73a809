"""`mira-stream label`: the teacher's labels of a group's documents."""

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import typer

from mira_stream.cli.options import (
    ConcurrencyOption,
    JsonOption,
    MaxCostOption,
    MaxTokensOption,
    ProjectOption,
    RetryUnreadOption,
)
from mira_stream.cli.output import emit, talk

GroupOption = Annotated[str, typer.Option("--group", "-g", help="The source group.")]
LabelsOption = Annotated[
    Path | None, typer.Option("--labels", help="The file of labels (default: labels/<group>.parquet of the project).")
]
DocumentsOption = Annotated[int, typer.Option("--documents", min=1, help="Training documents of each source, at most.")]
HeldoutOption = Annotated[int, typer.Option("--heldout", min=0, help="Held-out documents of each source, at most.")]
WindowsOption = Annotated[
    int, typer.Option("--windows", min=1, help="Windows of a training document; the first is the student's own view.")
]
CutsOption = Annotated[int, typer.Option("--cuts", min=1, help="Views of a window: itself, and shorter ones.")]
NewTokenizerOption = Annotated[
    bool, typer.Option("--new-tokenizer", help="Make the student's tokenizer anew, even if it has one.")
]
ModeOption = Annotated[
    Literal["scores", "rationale"] | None,
    typer.Option("--mode", help="Scores alone, or with justifications (default: the group's mode)."),
]
AnewOption = Annotated[
    bool, typer.Option("--anew", help="Put the answers paid for so far aside, and ask everything again.")
]


def label(
    group: GroupOption,
    project: ProjectOption = Path(),
    labels: LabelsOption = None,
    documents: DocumentsOption = 2000,
    heldout: HeldoutOption = 300,
    windows: WindowsOption = 1,
    cuts: CutsOption = 1,
    new_tokenizer: NewTokenizerOption = False,
    mode: ModeOption = None,
    max_cost: MaxCostOption = None,
    max_tokens: MaxTokensOption = None,
    concurrency: ConcurrencyOption = None,
    anew: AnewOption = False,
    retry_unread: RetryUnreadOption = False,
    json: JsonOption = False,
) -> None:
    """Let the teacher judge documents of a group, as its student will see them.

    Answers are kept in work/label-<group>.journal: after any end the same command goes on, and none is paid for twice.
    Views without a label are listed with their reasons in work/label-<group>.dead.jsonl.
    """
    from mira_stream.cli.labelling import Order, label_group
    from mira_stream.config import load_project
    from mira_stream.distill.labels import Augmentation
    from mira_stream.errors import UsageError

    loaded = load_project(project)
    if group not in loaded.settings.groups:
        known = ", ".join(sorted(loaded.settings.groups)) or "none"
        raise UsageError("group_unknown", f"the project has no group {group!r}", f"use one of {known}")
    order = Order(
        group=group,
        labels=labels or loaded.labels_path(group),
        documents=documents,
        heldout=heldout,
        more=Augmentation(windows, cuts),
        new_tokenizer=new_tokenizer,
        mode=mode or loaded.settings.groups[group].mode,
        cost_max=max_cost,
        tokens_max=max_tokens,
        concurrency=concurrency,
        anew=anew,
        retry_unread=retry_unread,
    )
    result = asyncio.run(label_group(loaded, order))
    talk.print(
        f"{order.labels}: {result['training']:,} training and {result['heldout']:,} held-out labels"
        f" of {result['documents']:,} documents",
        markup=False,
        soft_wrap=True,
    )
    if json:
        emit({"group": group, "labels": str(order.labels), **result})
