"""Rules that every tracked file keeps."""

import ast
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from mira_stream.cli.schemas import differences
from tests.parts import ALONE

ROOT = Path(__file__).resolve().parents[2]
LINES_MAX = 400
TEST_LINES_MAX = 500
BYTES_MAX = 20 * 2**20
# Written in pieces, so that this file keeps the rule it states.
HOSTS = ("pypi" + ".org", "python" + "hosted.org", "maven" + ".org", "registry." + "npmjs", "anaconda" + ".org")
PLACES = re.compile(r"(?<![\w.])/(?:work|root|home/\w+|tmp/\w+)/")
TEXT = {".py", ".md", ".toml", ".txt", ".cff", ".json", ".jsonl", ".lock", ".html", ".properties", ".yml", ".yaml", ""}
GENERATED = ("requirements/", "mira_stream/demo/project/", "schemas/")


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


def python_files() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py"]


def test_no_registry_and_no_machine_is_named() -> None:
    for path in tracked():
        if path.suffix not in TEXT or path.name == "jars.lock":
            continue
        text = path.read_text(encoding="utf-8")
        found = [host for host in HOSTS if host in text]
        assert not found, f"{path.relative_to(ROOT)} names {found}"
        if path.suffix != ".jsonl":
            places = PLACES.findall(text)
            assert not places, f"{path.relative_to(ROOT)} holds a path of a machine: {places}"


def test_files_stay_small() -> None:
    for path in tracked():
        assert path.stat().st_size <= BYTES_MAX, path
        if path.suffix == ".py":
            lines = len(path.read_text(encoding="utf-8").splitlines())
            most = TEST_LINES_MAX if path.is_relative_to(ROOT / "tests") else LINES_MAX
            assert lines <= most, f"{path.relative_to(ROOT)} has {lines} lines"


def test_every_public_module_says_what_it_is() -> None:
    """The first statement is looked at, and no file is parsed for it: a docstring is a string that is a line."""
    for path in python_files():
        with path.open(encoding="utf-8") as file:
            tokens = tokenize.generate_tokens(file.readline)
            first = next(one for one in tokens if one.type not in (tokenize.COMMENT, tokenize.NL))
            if first.type != tokenize.ENDMARKER:
                assert first.type == tokenize.STRING, f"{path.relative_to(ROOT)} has no docstring"
                assert isinstance(said := ast.literal_eval(first.string), str), path
                assert said.strip(), path
                assert next(tokens).type == tokenize.NEWLINE, path


def test_wiring_stays_thin() -> None:
    for path in python_files():
        if path.parent in (ROOT / "consumers", ROOT / "producers"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= 180, f"{path.relative_to(ROOT)} has {lines} lines: move logic to the library"


def test_every_test_is_in_a_part_that_reads_its_folder() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        own = re.search(
            r"^pytestmark = .*pytest\.mark\.(?:" + ALONE.get(path.parent.name, "") + r")\b", text, re.MULTILINE
        )
        if path.parent.name in ALONE:
            assert own, f"{path.relative_to(ROOT)}: no test of it is run"
        else:
            marked = re.search(r"pytest\.mark\.(simulation|tools|models|engine|demo)\b", text)
            assert not marked, f"{path.relative_to(ROOT)}: no part runs tests of this mark there"


def test_no_vague_module_names() -> None:
    vague = {"utils", "helpers", "common", "manager", "misc"}
    assert not [path for path in python_files() if path.stem in vague]


def test_no_name_is_shown_as_a_picture() -> None:
    """rich makes 🎶 of `source:notes:`."""
    for path in (ROOT / "mira_stream").rglob("*.py"):
        for call in re.findall(r"\bConsole\(([^)]+)\)", path.read_text(encoding="utf-8")):
            assert "emoji=False" in call, f"{path.relative_to(ROOT)}: Console({call})"


def test_imports_go_downward() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True,
        check=False, env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_schemas_are_in_step_with_messages() -> None:
    assert differences(ROOT / "schemas") == []


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "LICENSE", "CITATION.cff"])
def test_documents_are_there(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8")) > 300


def test_ci_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "make test" in script.read_text()
