"""`mira-stream policy apply | set | show | history | skip`: what decides, changed and looked at while all runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mira_stream.cli.connect import with_broker
from mira_stream.cli.options import BootstrapOption, JsonOption, ProjectOption

if TYPE_CHECKING:
    from mira_stream.config import Project
    from mira_stream.selecting.policies import PolicyLog
    from mira_stream.streaming.ports import Broker

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="What decides: targets, bands, floors, scopes and masks, changed while the stream runs.",
)
UNSET = ("retention", "unit", "band", "threshold_scope", "horizon_documents", "floors")
HORIZON_MAX = 10**9
_NAMES = {"scope": "threshold_scope", "horizon": "horizon_documents"}


@app.command()
def apply(
    project: ProjectOption = Path(),
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """Put in force what the project's files say, also where something else was set by command."""
    from mira_stream.cli.output import emit, talk
    from mira_stream.parquet import read_columns
    from mira_stream.scoring.lineage import lineage
    from mira_stream.selecting.publish import publish

    found = with_broker(
        project, bootstrap_servers, lambda loaded, b: publish(b, loaded, lineage, read_columns, override=True)
    )
    for warning in found.warnings:
        talk.print(f"warning: {warning}", markup=False, soft_wrap=True)
    if json:
        emit({"written": found.written, "keys": found.keys, "left_alone": found.foreign, "warnings": found.warnings})
        return
    if found.written:
        of = ", ".join(found.keys)
        typer.echo(f"{found.written} records written, of {of}; in force from each source's next card on")
    else:
        typer.echo("all of it is in force already")
    if found.foreign:
        typer.echo(f"left alone, for mira.toml has nothing of them: {', '.join(found.foreign)}")


@app.command("set")
def set_(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="*, group:G or source:S. The narrowest that speaks counts.")
    ],
    retention: Annotated[float | None, typer.Option("--retention", min=0, max=1, help="Share to keep.")] = None,
    budget_tokens: Annotated[int | None, typer.Option("--budget-tokens", min=1, help="Tokens to keep in all.")] = None,
    expected_tokens: Annotated[
        int | None, typer.Option("--expected-tokens", min=1, help="Tokens expected in all: makes the budget a share.")
    ] = None,
    unit: Annotated[str | None, typer.Option("--unit", help="documents or tokens.")] = None,
    band: Annotated[float | None, typer.Option("--band", min=0, max=1, help="Share between keep and drop.")] = None,
    scope: Annotated[str | None, typer.Option("--scope", help="Whose threshold: source, group or global.")] = None,
    horizon: Annotated[
        int | None, typer.Option("--horizon", min=1, max=HORIZON_MAX, help="Documents to pay back over.")
    ] = None,
    floor: Annotated[
        list[str] | None,
        typer.Option("--floor", help="SLOT=SCORE (A11=3): drop what scores less there, or nothing. Others stay."),
    ] = None,
    mask_add: Annotated[list[str] | None, typer.Option("--mask-add", help="A slot that counts from now on.")] = None,
    mask_remove: Annotated[list[str] | None, typer.Option("--mask-remove", help="A slot that counts no more.")] = None,
    unset: Annotated[
        list[str] | None,
        typer.Option(
            "--unset", help="Ask for nothing of one's own there again: retention, floor:A11, floors (all) ..."
        ),
    ] = None,
    note: Annotated[str, typer.Option("--note", help="Why, beside what changes; shown in the history.")] = "",
    project: ProjectOption = Path(),
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """Change what is asked of all sources, of a group or of one source. The rest of that key's record stays.

    In force from the next card of each source on; every decision says the version it was made under.
    """
    from mira_stream.cli.output import emit, talk
    from mira_stream.cli.policy_in_force import rows_of, say_rows
    from mira_stream.errors import UsageError
    from mira_stream.messages import Policy
    from mira_stream.parquet import read_columns
    from mira_stream.scoring.lineage import lineage
    from mira_stream.selecting.changing import Change, change, share_of
    from mira_stream.selecting.publish import commit_policy
    from mira_stream.selecting.wanted import prior_under, rubric_under

    share = share_of(budget_tokens, expected_tokens)
    if share is not None and (retention is not None or unit == "documents"):
        raise UsageError(
            "budget_invalid", "a token budget is a share in tokens itself", "leave --retention and --unit out"
        )
    asked = Policy(
        retention=share if share is not None else retention,
        unit="tokens" if share is not None else _one_of("--unit", unit, ("documents", "tokens")),
        band=band,
        threshold_scope=_one_of("--scope", scope, ("source", "group", "global")),
        horizon_documents=horizon,
        floors=_floors(floor),
        mask_add=mask_add or None,
        mask_remove=mask_remove or None,
        note=note,
    )
    taken_back = _taken_back(unset or [])
    made: list[Change] = []

    async def work(loaded: "Project", broker: "Broker") -> "PolicyLog":
        prior_of = prior_under(loaded, lineage, read_columns)
        scores_key = loaded.settings.topics.scores_key

        def decide(log: "PolicyLog") -> list[tuple[str, Any]]:
            made.append(change(log, key, asked, scores_key, prior_of, taken_back, rubric_under(loaded)))
            return made[0].records

        return (await commit_policy(broker, loaded, decide))[1]

    log = with_broker(project, bootstrap_servers, work)
    for warning in made[0].warnings:
        talk.print(f"warning: {warning}", markup=False, soft_wrap=True)
    sources = rows_of(log, key)
    if json:
        emit({"key": key, "written": len(made[0].records), "sources": sources})
        return
    typer.echo(f"{key}: {len(made[0].records)} records written; in force from each source's next card on")
    say_rows(sources)


@app.command()
def show(
    project: ProjectOption = Path(),
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """What is in force for every source, and which key says so."""
    from mira_stream.cli.output import emit
    from mira_stream.cli.policy_in_force import read_log, rows_of, say_rows

    sources = rows_of(with_broker(project, bootstrap_servers, read_log), "*")
    if json:
        emit({"sources": sources})
    else:
        say_rows(sources)


@app.command()
def history(
    project: ProjectOption = Path(),
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """All versions there ever were: when, under which key, why, and what changed; also what cannot be put in force."""
    from mira_stream.cli.output import emit
    from mira_stream.cli.policy_history import read_history, say_versions

    versions = with_broker(project, bootstrap_servers, read_history)
    if json:
        emit({"versions": versions})
        return
    say_versions(versions)


@app.command("skip")
def skip_(
    offset: Annotated[int, typer.Argument(metavar="OFFSET", min=0, help="As policy_invalid and the history say it.")],
    note: Annotated[str, typer.Option("--note", help="Why; shown in the history.")] = "",
    project: ProjectOption = Path(),
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """Pass over a record that cannot be put in force (policy_invalid): all who read the policy do, the audit too.

    A record that can be put in force is never passed over: ask for something else with `policy set`.
    """
    from mira_stream.cli.output import emit, talk
    from mira_stream.selecting.skipping import skip

    problem = with_broker(project, bootstrap_servers, lambda loaded, broker: skip(broker, loaded, offset, note))
    if json:
        emit({"skipped": offset, "still": None if problem is None else problem.cause})
        return
    typer.echo(f"{offset} is passed over from now on; start again what it stopped")
    if problem is not None:
        talk.print(f"warning: still in the way: {problem}", markup=False, soft_wrap=True)


def _floors(texts: list[str] | None) -> dict[str, float] | None:
    from mira_stream.errors import UsageError

    floors: dict[str, float] = {}
    for text in texts or ():
        slot, _, score = text.partition("=")
        try:
            floors[slot] = float(score)
        except ValueError:
            raise UsageError("floor_invalid", f"--floor {text}", "write SLOT=SCORE, for example A11=3") from None
    return floors or None


def _one_of(option: str, value: str | None, known: tuple[str, ...]) -> Any:
    from mira_stream.errors import UsageError

    if value is not None and value not in known:
        raise UsageError("option_invalid", f"{option} {value}", f"use one of {', '.join(known)}")
    return value


def _taken_back(names: list[str]) -> list[str]:
    """Fields of the policy by the names that their options have."""
    from mira_stream.messages import SLOTS
    from mira_stream.selecting.changing import FLOOR

    spoken = {field: name for name, field in _NAMES.items()}
    for name in names:
        if name.startswith(FLOOR):
            _one_of("--unset", name, tuple(FLOOR + slot for slot in SLOTS))
            continue
        _one_of("--unset", spoken.get(name, name), tuple(spoken.get(field, field) for field in UNSET))
    return [_NAMES.get(name, name) for name in names]
