"""Two score cards have one lineage only if their scores mean the same."""

from pathlib import Path

import pytest

from mira_stream.config import load_project
from mira_stream.scoring.lineage import lineage, seed
from tests.unit.scoring_project import TOML, make_project

CHANGES = [
    "document_tokens_max = 400",
    'too_long = "head"',
    "temperature = 0.7",
    "top_p = 0.95",
    "constrained = false",
    "reply_tokens_max = 200",
    'mode = "rationale"',
    'mode = "expected"',
]


def test_it_is_stable_and_has_twelve_hex_digits(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    one = lineage(project, "text")
    assert len(one) == 12
    assert int(one, 16) >= 0
    assert lineage(load_project(tmp_path, environment={}), "text") == one


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_a_score_changes_it(tmp_path: Path, change: str) -> None:
    before = lineage(make_project(tmp_path), "text")
    assert lineage(make_project(tmp_path, change), "text") != before


@pytest.mark.parametrize("name", ["rubrics/text.jsonl", "prompts/text/system.txt", "prompts/text/user.txt"])
def test_every_file_counts(tmp_path: Path, name: str) -> None:
    project = make_project(tmp_path)
    before = lineage(project, "text")
    path = tmp_path / name
    path.write_text(path.read_text().replace("\n", " \n", 1))
    assert lineage(project, "text") != before


@pytest.mark.parametrize(
    "change",
    ["max_num_seqs = 3", "request_timeout_s = 1.0", "kv_cache_gib = 2"],
)
def test_what_changes_only_the_speed_does_not(tmp_path: Path, change: str) -> None:
    before = lineage(make_project(tmp_path), "text")
    assert lineage(make_project(tmp_path, change), "text") == before


def test_where_an_endpoint_stands_does_not_count_but_its_model_does(tmp_path: Path) -> None:
    before = lineage(make_project(tmp_path), "text")
    (tmp_path / "mira.toml").write_text(TOML.format(group="").replace("127.0.0.1:9", "gpu-1:8000"))
    assert lineage(load_project(tmp_path, environment={}), "text") == before
    (tmp_path / "mira.toml").write_text(TOML.format(group="").replace('"scripted"', '"another"'))
    assert lineage(load_project(tmp_path, environment={}), "text") != before


def test_a_seed_belongs_to_a_document_and_an_attempt() -> None:
    seeds = {seed(one, document, attempt) for one in "ab" for document in ("1", "2") for attempt in (1, 2)}
    assert len(seeds) == 8
    assert seed("a", "1") == seed("a", "1")
    assert all(0 <= number < 2**32 for number in seeds)
