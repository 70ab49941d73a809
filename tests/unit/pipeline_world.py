"""A project, steps that are Python one-liners, and a pipeline of them."""

from pathlib import Path
from typing import Any

import pytest

from mira_stream.pipeline import run as running
from mira_stream.pipeline.run import Pipeline, Wish
from mira_stream.pipeline.steps import Step

TOML = """
[groups.text]
family = "text"
[groups.qa]
family = "qa"
[sources.notes]
group = "text"
path = "notes.jsonl"
[sources.faq]
group = "qa"
path = "faq.jsonl"
[teacher]
model = "some-teacher"
"""


class Watched:
    """A view that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def passed(self, step: Step, why: str) -> None:
        self.events.append(("passed", step.name))

    def started(self, step: Step, why: str) -> None:
        self.events.append(("started", step.name))

    def said(self, step: Step, line: str) -> None:
        self.events.append(("said", line))

    def ended(self, step: Step, seconds: float, failed: bool) -> None:
        self.events.append(("failed" if failed else "done", step.name))


def make_root(tmp_path: Path) -> Path:
    """A project of two groups with a source each."""
    (tmp_path / "mira.toml").write_text(TOML)
    (tmp_path / "notes.jsonl").write_text("{}")
    (tmp_path / "faq.jsonl").write_text("{}")
    return tmp_path


def step(root: Path, name: str, code: str, **changes: Any) -> Step:
    """A step that runs Python code with OUT set to its one output."""
    out = root / f"{name}.out"
    whole = f"import sys, os, time\nOUT = {str(out)!r}\n{code}"
    return Step(name, "label", "text", ("-c", whole), (root / "in.txt",), {}, (out,))._replace(**changes)


WRITES = (
    "open(OUT, 'a').write('x'); print('talk', file=sys.stderr); print('{\"spent\": {\"cost\": 2.5, \"tokens\": 10}}')"
)


def pipeline(
    root: Path, steps: list[Step], monkeypatch: pytest.MonkeyPatch, wish: Wish | None = None
) -> tuple[Pipeline, Watched]:
    """A pipeline whose steps of group `text` are these."""
    monkeypatch.setattr(running, "method_steps", lambda project, group, pace: steps if group == "text" else [])
    view = Watched()
    return Pipeline(root, wish or Wish(), view), view
