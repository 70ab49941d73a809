"""A small MIRA project directory for the tests of scoring, and documents as they stand in the log."""

from pathlib import Path
from typing import Any

import orjson

from mira_stream.config import Project, load_project
from mira_stream.records import Record

NAMES = [f"Dimension {number}" for number in range(1, 16)]
TOML = """
[groups.text]
family = "text"
engine = "openai"
base_urls = ["http://127.0.0.1:9/v1"]
model = "scripted"
context_tokens_max = 4096
{group}
[groups.qa]
family = "qa"
engine = "openai"
base_urls = ["http://127.0.0.1:9/v1"]

[sources.stdlib]
group = "text"
[sources.docs]
group = "text"
[sources.pairs]
group = "qa"
[limits]
dead_letters_in_a_row = 5
"""


def make_project(root: Path, group: str = "") -> Project:
    """`group`: more lines for [groups.text]."""
    (root / "mira.toml").write_text(TOML.format(group=group))
    for name in ("text", "qa"):
        lines: list[dict[str, Any]] = [
            {"schema": "rubric.v1", "group": name, "teacher": "featurejudge", "created_by": "tests"}
        ]
        for number, title in enumerate(NAMES, start=1):
            examples = [{"score": 8, "reason": "good"}]
            lines.append(
                {"schema": "anchor.v1", "slot": f"A{number}", "name": title, "description": "", "examples": examples}
            )
        (root / "rubrics").mkdir(exist_ok=True)
        (root / "rubrics" / f"{name}.jsonl").write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
        prompts = root / "prompts" / name
        prompts.mkdir(parents=True, exist_ok=True)
        (prompts / "system.txt").write_text("You judge.\n${calibration}")
        (prompts / "user.txt").write_text("Dimensions:\n${dimensions}\n\nDocument:\n${document}")
    return load_project(root, environment={})


def record(value: bytes | dict[str, Any] | None, offset: int = 0) -> Record:
    """A record of mira.documents.text; a dict becomes a document's JSON."""
    if isinstance(value, dict):
        value = orjson.dumps({"schema": "document.v1", "id": f"d{offset}", "source": "stdlib"} | value)
    return Record("mira.documents.text", 0, offset, 1_700_000_000_000, b"key", value, (("traceparent", b"00-1-2-01"),))
