"""One real service process for the fault suite: the `mira-stream` command itself, with a stand-in engine and, where
asked for, a failpoint or a clock that jumps.

    python -m tests.faults.worker score --project DIR --bootstrap-servers HOST:PORT
"""

import os
import signal
import sys
import time
from functools import partial

from mira_stream.consumers import scorer, shadow

from mira_stream.cli.main import main
from mira_stream.config import Project
from tests.faults import engines, failpoints

CLOCK = "MIRA_FAULT_CLOCK"
"""`first:length:jump`: from `first` seconds after the start the wall clock is `jump` seconds off, for `length`."""

SCORES_OF = "MIRA_FAULT_SCORES_OF"
"""A prefix: score cards and policy are read from that project's topics, everything else is this project's own."""


def _borrow_scores(prefix: str) -> None:
    own = Project.topic
    borrowed = ("scores", "policy")
    Project.topic = lambda self, name: f"{prefix}.{name}" if name in borrowed else own(self, name)  # type: ignore[method-assign]


def _jumping_clock(text: str) -> None:
    first, length, jump = map(float, text.split(":"))
    true_time, true_time_ns, started = time.time, time.time_ns, time.monotonic()

    def off() -> float:
        return jump if first <= time.monotonic() - started < first + length else 0.0

    time.time = lambda: true_time() + off()
    time.time_ns = lambda: true_time_ns() + int(off() * 1e9)


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and handed down so
    if failpoint := os.environ.get(failpoints.VARIABLE):
        failpoints.install(failpoints.parse(failpoint))
    if stop := os.environ.get(failpoints.STOP):
        failpoints.install_stop(stop)
    if clock := os.environ.get(CLOCK):
        _jumping_clock(clock)
    if prefix := os.environ.get(SCORES_OF):
        _borrow_scores(prefix)
    if engine := engines.builder():
        sys.stderr.write("stand-in engine: scores are hashes, there is no model\n")
        shadow.shadow = partial(shadow.shadow, engine_for=engine)  # it has taken `score` as it was
        scorer.score = partial(scorer.score, engine_for=engine)
    sys.exit(main())
