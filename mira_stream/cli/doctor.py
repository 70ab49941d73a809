"""`mira-stream doctor`: is everything there that a project needs, and what to do where it is not."""

import asyncio
import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mira_stream.cli.options import BootstrapOption, JsonOption, ProjectOption
from mira_stream.cli.output import emit, talk

if TYPE_CHECKING:
    from mira_stream.config import Project
    from mira_stream.doctor.verdict import Finding, Status

COLOURS: "Final[dict[Status, str]]" = {"ok": "green", "warn": "yellow", "fail": "bold red", "skipped": "dim"}


def doctor(
    project: ProjectOption = Path(),
    bootstrap_servers: BootstrapOption = None,
    port: Annotated[list[int] | None, typer.Option("--port", help="A port that must be free. Again for more.")] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Write nothing to the broker: no transaction, no look at its clock.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 also for warnings, and so for checks that got no answer.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check machine, project and broker in seconds; each problem says what to do. Exit code 1 if a check failed.
    On a busy machine a check may get no answer: that is a warning, "not known". A gate that must not pass by it says
    --strict.

    Unless --read-only is given, one record goes through a transaction on the topic <prefix>.doctor.
    """
    began = time.monotonic()
    findings = asyncio.run(_examined(project, bootstrap_servers, tuple(port or ()), not read_only))
    seconds = time.monotonic() - began
    counts = Counter(one.status for one in findings)
    _show(findings)
    said = ", ".join(f"{counts[status]} {status}" for status in COLOURS if counts[status])
    talk.print(f"{len(findings)} checks in {seconds:.1f} s: {said}", markup=False)
    if json:
        emit({"schema": "doctor.v1", "checks": [one._asdict() for one in findings], "counts": dict(counts)})
    raise typer.Exit(1 if counts["fail"] or (strict and counts["warn"]) else 0)


async def _examined(
    root: Path, bootstrap_servers: str | None, ports: tuple[int, ...], probing: bool
) -> "list[Finding]":
    from mira_stream.config import load_project
    from mira_stream.doctor.broker import broker_checks
    from mira_stream.doctor.machine import machine_checks
    from mira_stream.doctor.project import project_checks
    from mira_stream.doctor.verdict import Check, Verdict, in_thread, ok, run_all
    from mira_stream.errors import MiraError

    project: Project | None = None
    trouble: MiraError | None = None
    try:
        project = load_project(root)
    except MiraError as error:
        trouble = error

    async def settings() -> Verdict:
        if trouble is not None:
            raise trouble
        return ok(f"{root / 'mira.toml'} is valid")

    await in_thread(_load)
    checks = [Check("mira.toml", settings), *machine_checks(project, ports, os.environ)]
    if project is not None:
        checks += project_checks(project, os.environ)
        checks += broker_checks(_cluster(project, bootstrap_servers), os.environ, probing=probing)
    return await run_all(checks)


def _load() -> None:
    """What the checks import. On a busy machine that takes seconds, in which an event loop that imports answers nobody:
    each check would be found without an answer, those that had one, too."""
    import mira_stream.kafka
    import mira_stream.kafka.connection
    import mira_stream.kafka.looking
    import mira_stream.kafka.rights
    import mira_stream.kafka.transactions
    import mira_stream.openai_engine
    import mira_stream.parquet  # noqa: F401


def _cluster(project: "Project", bootstrap_servers: str | None) -> Any:
    from mira_stream.cli.announced import anyone_lives
    from mira_stream.cli.connect import EMBEDDED, address
    from mira_stream.doctor.broker import Cluster
    from mira_stream.errors import DependencyError

    embedded = (bootstrap_servers or project.settings.broker.bootstrap_servers) == EMBEDDED
    try:
        return Cluster(project, address(project, bootstrap_servers), "", embedded)
    except DependencyError:
        why = f"the embedded broker does not run (mira-stream broker start --project {project.root})"
        return Cluster(project, None, why, embedded, missed=anyone_lives(project.root))


def _show(findings: "list[Finding]") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for overflow in ("fold", "fold", "fold"):
        table.add_column(overflow=overflow)
    for one in findings:
        said = f"{one.said}\n  do: {one.fix}" if one.fix else one.said
        table.add_row(Text(one.status, style=COLOURS[one.status]), Text(one.check), Text(said))
    talk.print(table)
