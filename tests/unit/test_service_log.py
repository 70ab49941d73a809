"""A service's log goes to the standard error that there is when it is written."""

import subprocess
import sys

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
