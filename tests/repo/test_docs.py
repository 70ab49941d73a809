"""What the documents say is so: commands exist, settings are all listed, links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from msgspec import NODEFAULT
from msgspec.structs import fields

from mira_stream import sections
from mira_stream.cli.main import COMMANDS, app

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "ARCHITECTURE.md")
SECTIONS: dict[str, type[sections.Section]] = {
    "project": sections.ProjectSection,
    "broker": sections.BrokerSection,
    "topics": sections.TopicsSection,
    "groups.G": sections.GroupSection,
    "groups.G.cascade": sections.CascadeSection,
    "sources.S": sections.SourceSection,
    "retention": sections.RetentionSection,
    "mask": sections.MaskSection,
    "mask.limits": sections.MaskLimits,
    "windows": sections.WindowsSection,
    "limits": sections.LimitsSection,
    "ingest": sections.IngestSection,
    "tokens": sections.TokensSection,
    "grouping": sections.GroupingSection,
    "discovery": sections.DiscoverySection,
    "teacher": sections.TeacherSection,
    "labels": sections.LabelsSection,
    "reliability": sections.ReliabilitySection,
}


def settings_table() -> str:
    """Markdown: one row a table of mira.toml, keys with their defaults."""
    rows = ["| table | keys and defaults |", "|---|---|"]
    for name, section in SECTIONS.items():
        keys = []
        for field in fields(section):
            if field.default is NODEFAULT and field.default_factory is NODEFAULT:
                keys.append(f"`{field.encode_name}` (must be given)")
                continue
            default = field.default if field.default is not NODEFAULT else field.default_factory()
            if not isinstance(default, sections.Section):
                shown = (
                    "none" if default is None else str(default).lower() if isinstance(default, bool) else repr(default)
                )
                keys.append(f"`{field.encode_name} = {shown}`".replace("'", '"'))
        rows.append(f"| `[{name}]` | {', '.join(keys)} |")
    return "\n".join(rows)


def toml(value: object) -> str:
    """The value as mira.toml would say it."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')


def commands(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [part.strip() for line in lines if line for part in line.split("&&")]


ALL_COMMANDS = [command for page in PAGES for command in commands(page)]


def test_there_are_commands_to_check() -> None:
    assert len(ALL_COMMANDS) >= 10


@pytest.mark.parametrize("command", [c for c in ALL_COMMANDS if "mira-stream" in c.split()[0]])
def test_every_documented_command_is_understood(command: str) -> None:
    """Parses the command line with the real parsers, without running it."""
    arguments = shlex.split(command)[1:]
    context = typer.main.get_command(app).make_context("mira-stream", list(arguments))
    while getattr(context, "_protected_args", None):
        remaining = [*context._protected_args, *context.args]
        child = context.command.get_command(context, remaining[0])  # type: ignore[attr-defined]
        assert child is not None, f"no such command: {remaining[0]}"
        context = child.make_context(remaining[0], remaining[1:], parent=context)


@pytest.mark.parametrize("command", [c for c in ALL_COMMANDS if "mira-stream" not in c.split()[0]])
def test_other_commands_name_what_is_there(command: str) -> None:
    program, *arguments = shlex.split(command)
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(arguments) <= set(targets)
    elif program == "python3":
        assert (ROOT / arguments[0]).is_file()
    else:
        assert program in {".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/pytest"}


def test_every_command_is_in_the_readme() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## Commands")[1]
    for name in COMMANDS:
        assert re.search(rf"`{name}\b", table), f"README's table of commands lacks {name}"


def test_architecture_lists_every_setting() -> None:
    assert settings_table() in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_no_placeholder_is_left(page: str) -> None:
    assert not re.findall(r"<!--.*?-->|TODO|TBD", (ROOT / page).read_text(encoding="utf-8"))
