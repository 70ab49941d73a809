"""`mira-stream schemas write|check`: the JSON Schemas of all messages, one file a message."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import orjson
import typer

from mira_stream.cli.options import JsonOption
from mira_stream.cli.output import emit, talk
from mira_stream.errors import CheckFailed, UsageError
from mira_stream.label_messages import LABEL_MESSAGES
from mira_stream.messages import MESSAGES, Wire
from mira_stream.progress_messages import PROGRESS_MESSAGES
from mira_stream.window_messages import WINDOW_MESSAGES

app = typer.Typer(no_args_is_help=True, help="Write or check the JSON Schemas of all messages.")
DirectoryOption = Annotated[Path, typer.Option("--dir", help="The folder of the schemas.")]
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(message: type[Wire]) -> tuple[str, bytes]:
    """(file name, bytes) of a message's JSON Schema."""
    tag = message.__struct_config__.tag
    (schema,), definitions = msgspec.json.schema_components([message], ref_template="#/$defs/{name}")
    whole: dict[str, Any] = {"$schema": _DRAFT, "title": str(tag), **schema, "$defs": definitions}
    return f"{tag}.json", orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def differences(directory: Path) -> list[str]:
    """Names of files that are missing, differ, or belong to no message."""
    expected = dict(map(schema_of, (*MESSAGES, *PROGRESS_MESSAGES, *LABEL_MESSAGES, *WINDOW_MESSAGES)))
    found = {path.name: path.read_bytes() for path in directory.glob("*.json")}
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


@app.command()
def write(directory: DirectoryOption = Path("schemas"), json: JsonOption = False) -> None:
    """Write one JSON Schema a message; files of no message are removed."""
    if directory.exists() and not directory.is_dir():
        raise UsageError("not_a_folder", f"{directory} is no folder", "name a folder with --dir")
    directory.mkdir(parents=True, exist_ok=True)
    expected = dict(map(schema_of, (*MESSAGES, *PROGRESS_MESSAGES, *LABEL_MESSAGES, *WINDOW_MESSAGES)))
    for path in directory.glob("*.json"):
        if path.name not in expected:
            path.unlink()
    for name, data in expected.items():
        (directory / name).write_bytes(data)
    if json:
        emit({"written": sorted(expected)})
    else:
        talk.print(f"{len(expected)} schemas in {directory}")


@app.command()
def check(directory: DirectoryOption = Path("schemas"), json: JsonOption = False) -> None:
    """Exit 1 if the folder is not what `write` would write."""
    different = differences(directory)
    if json:
        emit({"different": different})
    if different:
        raise CheckFailed("schemas_differ", f"{directory}: {', '.join(different)}", "run `mira-stream schemas write`")
