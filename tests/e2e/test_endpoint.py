"""demo, up and the services on real Kafka with the feature judge behind an endpoint instead of vLLM."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from mira_stream.config import load_project
from mira_stream.demo.featurejudge.server import ServedGroup, serving
from mira_stream.demo.material import write_source
from mira_stream.demo.run import SHIPPED
from mira_stream.prompt import load_prompt
from mira_stream.rubric.anchors import load_rubric

pytestmark = [pytest.mark.broker, pytest.mark.timeout(1500)]
PATIENCE_S = 600.0
DOCUMENTS = 42


async def mira_stream(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mira_stream", *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def judge() -> AsyncIterator[str]:
    """The feature judge's URL."""
    project = load_project(SHIPPED, {})
    groups = {}
    for group in project.settings.groups:
        rubric = load_rubric(project.rubric_path(group))
        groups[group] = ServedGroup(
            project.settings.groups[group].family, load_prompt(project.prompts_path(group), rubric), rubric
        )
    async with serving(groups) as url:
        yield url


@pytest.fixture
def project(tmp_path: Path, judge: str) -> Path:
    """The demo project, judged by the endpoint: no reliability was ever measured for that."""
    root = tmp_path / "project"
    root.mkdir()
    for part in ("rubrics", "prompts"):
        shutil.copytree(SHIPPED / part, root / part)
    (root / "students").symlink_to(SHIPPED / "students")
    table: dict[str, Any] = msgspec.toml.decode((SHIPPED / "mira.toml").read_bytes())
    for group in table["groups"].values():
        group.update(engine="openai", base_urls=[judge], model="featurejudge")
    (root / "mira.toml").write_bytes(msgspec.toml.encode(table))
    return root


async def test_demo_on_an_endpoint_with_a_teacher_beside(project: Path, judge: str, tmp_path: Path) -> None:
    code, out, said = await mira_stream(
        "demo", "--project", str(project), "--out", str(tmp_path / "out"), "--documents", str(DOCUMENTS), "--json",
        "--teacher", judge, "--model", "featurejudge",
    )  # fmt: skip
    assert code == 0, said
    found = orjson.loads(out)
    assert found["documents"] == {"produced": DOCUMENTS, "scored": DOCUMENTS, "decided": DOCUMENTS, "dead": 0}
    assert {row["documents"] for row in found["sources"].values()} == {DOCUMENTS // 6}
    # The teacher is the judge itself, behind the same prompt and the same cut view: it must agree with itself.
    assert sum(group["documents"] for group in found["teacher"].values()) == 20
    for group in found["teacher"].values():
        assert group["mae"] == [0.0] * 15
        assert all(rho is None or rho == pytest.approx(1.0) for rho in group["rho"])
    assert "no reliability table" in said
    assert "0 lost, 0 doubled" in said


async def test_a_second_demo_starts_anew_in_its_folder(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for documents in (12, 6):
        code, answer, said = await mira_stream(
            "demo", "--project", str(project), "--out", str(out), "--documents", str(documents), "--json"
        )
        assert code == 0, said
        assert orjson.loads(answer)["documents"]["produced"] == documents


async def test_a_dead_endpoint_ends_the_demo_with_its_own_words(project: Path, tmp_path: Path) -> None:
    text = (project / "mira.toml").read_text()
    url = load_project(project, {}).settings.groups["text"].base_urls[0]
    (project / "mira.toml").write_text(text.replace(url, "http://127.0.0.1:9/v1"))
    code, out, said = await mira_stream("demo", "--project", str(project), "--out", str(tmp_path / "out"), "-n", "6")
    assert (code, out) == (4, "")
    assert "service_died" in said
    assert "endpoint_down" in said
    assert "Traceback" not in said


async def test_up_judges_what_is_produced_until_told_to_stop(project: Path) -> None:
    loaded = load_project(project, {})
    for source in ("stdlib", "docstrings"):
        write_source(loaded.path(loaded.settings.sources[source].path), source, 10)
    up = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mira_stream", "up", "--project", str(project), "--json",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert up.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            while b"Ctrl-C stops" not in (line := await up.stderr.readline()):
                assert line, "up ended before it was up"
        code, out, said = await mira_stream(
            "produce", "files", "stdlib", "docstrings", "--project", str(project), "--json"
        )
        assert code == 0, said
        assert orjson.loads(out)["produced"] == 20
        async with asyncio.timeout(PATIENCE_S):
            while (audited := await audit(project))["decisions"] < 20 or audited["not_yet_exported"]:
                assert up.returncode is None
        assert audited["ok"]
        assert audited["documents"] == 20
        up.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            out_bytes, _ = await up.communicate()
        assert up.returncode == 0
        assert orjson.loads(out_bytes)["stopped"]
        assert len(list((project / "export" / "scores" / "stdlib").glob("*.parquet"))) >= 1
        assert not is_broker_running(project)
    finally:
        if up.returncode is None:
            up.kill()
            await up.wait()


async def audit(project: Path) -> dict[str, Any]:
    arguments = ("audit", "--project", str(project), "--out", str(project / "export"), "--json")
    (project / "export").mkdir(exist_ok=True)
    _, out, said = await mira_stream(*arguments)
    assert out, said
    found: dict[str, Any] = orjson.loads(out)
    return found


def is_broker_running(project: Path) -> bool:
    folder = os.fsencode(project)
    return any(folder in line for line in command_lines())


def command_lines() -> list[bytes]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((entry / "cmdline").read_bytes())
            except OSError:
                continue
    return found
