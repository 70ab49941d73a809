"""`mira-stream label`: the teacher's labels of a group's documents."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mira_stream.cli.options import (
    AskAgainOption,
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
    Path | None,
    typer.Option("--labels", help="The file of labels (default: work/labels-<group>.parquet of the project)."),
]
DocumentsOption = Annotated[
    int | None,
    typer.Option(
        "--documents",
        min=1,
        help="Training documents of each source, at most (\\[labels]); drawn from all it has, so all is read.",
    ),
]
HeldoutOption = Annotated[
    int | None, typer.Option("--heldout", min=0, help="Held-out documents of each source, at most (\\[labels]).")
]
WindowsOption = Annotated[
    int | None,
    typer.Option(
        "--windows", min=1, help="Windows of a training document; the first is the student's view (\\[labels])."
    ),
]
CutsOption = Annotated[
    int | None, typer.Option("--cuts", min=1, help="Views of a window: itself, and shorter ones (\\[labels]).")
]
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
    documents: DocumentsOption = None,
    heldout: HeldoutOption = None,
    windows: WindowsOption = None,
    cuts: CutsOption = None,
    new_tokenizer: NewTokenizerOption = False,
    mode: ModeOption = None,
    max_cost: MaxCostOption = None,
    max_tokens: MaxTokensOption = None,
    concurrency: ConcurrencyOption = None,
    anew: AnewOption = False,
    retry_unread: RetryUnreadOption = False,
    yes: AskAgainOption = False,
    json: JsonOption = False,
) -> None:
    r"""Let the teacher judge documents of a group, as its student will see them.

    How many is what \[labels] of mira.toml says, as in the pipeline; an option goes before it, for this run. Which is a
    matter of chance, a hash of their id: the order of a source does not matter, and more labels keep the earlier ones.
    Answers are kept in work/label-<group>.journal: after any end the same command goes on, and none is paid for twice.
    Views without a label are listed with their reasons in work/label-<group>.dead.jsonl.
    """
    from mira_stream.cli.label_work import order_of
    from mira_stream.cli.labelling import label_group
    from mira_stream.config import load_project
    from mira_stream.errors import UsageError

    loaded = load_project(project)
    if group not in loaded.settings.groups:
        known = ", ".join(sorted(loaded.settings.groups)) or "none"
        raise UsageError("group_unknown", f"the project has no group {group!r}", f"use one of {known}")
    wanted = loaded.settings.labels
    given = {"documents": documents, "heldout": heldout, "windows": windows, "cuts": cuts}
    for name, value in given.items():
        if value is not None and value != (said := getattr(wanted, name)):
            line = f"--{name} {value} for this run; the pipeline keeps to [labels] {name} = {said} of mira.toml"
            talk.print(line, markup=False, soft_wrap=True)
    order = order_of(loaded, group)
    more = {name: value for name, value in (("windows", windows), ("cuts", cuts)) if value is not None}
    order = order._replace(
        labels=labels or order.labels,
        documents=order.documents if documents is None else documents,
        heldout=order.heldout if heldout is None else heldout,
        more=order.more._replace(**more),
        new_tokenizer=new_tokenizer,
        mode=mode or order.mode,
        cost_max=max_cost,
        tokens_max=max_tokens,
        concurrency=concurrency,
        anew=anew,
        retry_unread=retry_unread,
        agreed=yes,
    )
    result = label_group(loaded, order)
    talk.print(
        f"{order.labels}: {result['training']:,} training and {result['heldout']:,} held-out labels"
        f" of {result['documents']:,} documents",
        markup=False,
        soft_wrap=True,
    )
    if json:
        emit({"group": group, "labels": str(order.labels), **result})
