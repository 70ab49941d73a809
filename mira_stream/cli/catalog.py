"""`mira-stream catalog`: the released MIRA scorers."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mira_stream.cli.options import JsonOption

if TYPE_CHECKING:
    from mira_stream.catalog import Catalog, Student


def catalog(
    name: Annotated[str | None, typer.Argument(help="Show this student in full, for example agent-4.")] = None,
    json: JsonOption = False,
) -> None:
    """List the twelve released students, or show one with its sources, slots and `vllm serve` line.

    What their public cards do not say is shown as unknown, never guessed.
    """
    from mira_stream.catalog import find, load_catalog
    from mira_stream.cli.output import emit, talk

    found = load_catalog()
    if name is not None:
        student = find(found, name)
        _show(student, found)
        if json:
            emit(_entry(student, found))
        return
    talk.print(table_of(found))
    talk.print(
        "Sources, slots and licence: mira-stream catalog NAME. A project for it: mira-stream init DIR --catalog NAME",
        markup=False,
        soft_wrap=True,
    )
    if json:
        emit({"students": [_entry(student, found) for student in found.students]})


def _entry(student: "Student", found: "Catalog") -> dict[str, Any]:
    import msgspec

    from mira_stream.catalog.students import serve_line

    more = {
        "base_model": found.base_model,
        "teacher": found.teacher,
        "serving": msgspec.to_builtins(found.serving),
        "serve": serve_line(student, found.serving),
        "unknown": student.unknown,
    }
    return {**msgspec.to_builtins(student), **more}


def table_of(found: "Catalog") -> Any:
    """What fits 80 columns, no word folded. All of it: `catalog NAME`, or --json."""
    from rich.table import Table

    table = Table("student", "group", "records", "sources", "slots", "domain", box=None, pad_edge=False)
    for column in table.columns[:-1]:
        column.no_wrap = True
    for one in found.students:
        table.add_row(
            one.name,
            one.group or "?",
            "?" if one.records is None else f"{one.records:,}",
            _sources(one),
            "?" if one.slots is None else "known",
            one.domain or "?",
        )
    return table


def _sources(student: "Student") -> str:
    named, all_of_them = len(student.sources), student.sources_count
    if all_of_them is None:
        return "?"
    return str(named) if named == all_of_them else f"{all_of_them}, {named} named"


def _show(student: "Student", found: "Catalog") -> None:
    from mira_stream.catalog.students import serve_line
    from mira_stream.cli.output import talk

    serving = found.serving
    rows: list[tuple[str, str]] = [
        ("student", f"{student.name} ({student.family}), the authors' group {student.group or 'unknown'}"),
        ("domain", student.domain or "unknown"),
        ("prompt", student.prompt_family or f"anchored, layout {serving.layout}"),
        ("records", "unknown" if student.records is None else f"{student.records:,} judged by {found.teacher}"),
        ("base", found.base_model),
        ("licence", student.licence or "unknown"),
        ("sources", ", ".join(one.name for one in student.sources) or "unknown"),
        *((one.slot, f"{one.name} ({one.cluster_size:,})") for one in student.slots or []),
        (
            "sampling",
            f"temperature {serving.temperature:g}, top_p {serving.top_p:g}, {serving.reply_tokens_max} tokens",
        ),
        ("not public", ", ".join(student.unknown)),
    ]
    for label, text in rows:
        talk.print(f"{label:>10}  {text}", markup=False, soft_wrap=True)
    line = serve_line(student, serving)
    if line is None:
        talk.print(
            f"     serve  its model name is not known; the settings are those of {serving.card}'s card", markup=False
        )
        return
    talk.print(f"     serve  {line}", markup=False, soft_wrap=True)
    if serving.trust_remote_code:
        talk.print("            (its card adds --trust-remote-code: only if you have read that code)", markup=False)
