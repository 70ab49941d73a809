"""A log goes to the standard error that there is when it is written, whatever the command; data alone to standard
output."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mira_stream.demo.run import SHIPPED

SCRIPT = """
import io, sys
import structlog
from mira_stream.streaming.service import log_to_stderr
log = structlog.get_logger("mira_stream.test")
sys.stderr = first = io.StringIO()
log_to_stderr()
log.warning("one", group="text")
first.close()
sys.stderr = second = io.StringIO()
log.error("two")
print(second.getvalue(), end="")
"""


def test_a_log_outlives_the_stream_that_it_began_with() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert "level=error event=two" in done.stdout
    assert "one" not in done.stdout


NOISY = """
import logging, sys, warnings
import structlog
from mira_stream.cli import output
from mira_stream.cli.main import main
emit, log = output.emit, structlog.get_logger("mira_stream.test")

def noisy(value):
    log.warning("noise", of="ours")
    logging.getLogger("library").warning("noise of a library")
    warnings.warn("noise of Python")
    emit(value)

output.emit = noisy
sys.exit(main(sys.argv[1:]))
"""
"""Every command logs in the moment in which it writes its data."""
COMMANDS: dict[str, tuple[str, ...]] = {
    "version": ("version",),
    "catalog": ("catalog",),
    "schemas": ("schemas", "check"),
    "doctor": ("doctor", "--project", "{demo}"),
    "broker": ("broker", "status", "--data-dir", "{empty}"),
    "init": ("init", "{empty}/made", "--demo"),
}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_standard_output_is_one_json_document_whatever_is_logged(name: str, tmp_path: Path) -> None:
    places = {"demo": str(SHIPPED), "empty": str(tmp_path)}
    arguments = [part.format(**places) for part in COMMANDS[name]]
    command = [sys.executable, "-c", NOISY, *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert isinstance(json.loads(done.stdout), dict | list), done.stderr
    assert "level=warning event=noise of=ours" in done.stderr
    assert "noise of a library" in done.stderr
