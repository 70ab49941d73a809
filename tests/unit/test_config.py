"""What is said of a mira.toml that is wrong."""

from pathlib import Path

import pytest

from mira_stream.config import load_project, read_settings
from mira_stream.errors import ConfigError

GROUP = '[groups.qa]\nfamily = "qa"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[groups.text]\ndocument_tokens_max = 100\n", "[groups.text]: Object missing required field `family`"),
        ('[groups.text]\nfamily = "prose"\n', "[groups.text]: Invalid enum value 'prose' - at `$.family`"),
        ('[groups.Text]\nfamily = "text"\n', "[groups.Text]: a name must match"),
        ('[groups.text]\nfamily = "text"\n[groups.text.cascade]\nloss = 2.0\n', "[groups.text]: Expected `float` < 1"),
        ('[sources."a b"]\nfamily = "text"\n', "[sources.a b]: a name must match"),
        ('[sources."notes\\n"]\nfamily = "text"\n', "a name must match"),
        ('[groups."text\\n"]\nfamily = "text"\n', "a name must match"),
        ('[sources.notes]\nfamily = "text"\nretain = 0.5\n', "[sources.notes]: Object contains unknown field `retain`"),
        ("[broker]\ntransaction_timeout_ms = 900001\n", "Expected `int` <= 900000"),
        ('[teacher]\ntemperature = "hot"\n', "Expected `float`, got `str` - at `$.teacher.temperature`"),
    ],
)
def test_the_table_is_named(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match="project_invalid") as caught:
        read_settings(f"{GROUP}{text}".encode(), Path("mira.toml"), {})
    assert said in caught.value.cause


SPREAD = '''\
# grace_s = 1
[windows]
size_s = 10000

[sources.notes]  # size_s
group = "qa"
description = """
retention = 0.5
[windows]
grace_s = 9
"""
mask_add = [
    "A1",
]
[sources.other]
group = "qa"
path = "other.jsonl"
'''


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("size_s = 10000", "size_s = 0", 5),
        ("size_s = 10000", "size_s = 'x'", 5),
        ("size_s = 10000", "sizes = 10", 5),
        ("size_s = 10000", "grace_s = 10000000", 4),  # [windows], whose keys do not fit together
        ("[windows]\nsize_s", "windows.size_s = -1\n[topics]\nxs", 4),
        ('path = "other.jsonl"', "path = 3", 19),
        ('path = "other.jsonl"', "retention = 2.0", 19),
        ("[sources.other]", "[sources.'o o']", 17),
        ('"A1",', "1,", None),  # of several lines: none is told rather than a wrong one
        ('group = "qa"\npath', 'group = "nobody"\npath', None),  # said of the whole file
    ],
)
def test_the_line_is_named_where_it_is_sure(old: str, new: str, line: int | None) -> None:
    assert SPREAD.count(old) >= 1
    text = f"{GROUP}{SPREAD.replace(old, new, 1)}"
    with pytest.raises(ConfigError, match="project_invalid") as caught:
        read_settings(text.encode(), Path("mira.toml"), {})
    where = "mira.toml: " if line is None else f"mira.toml, line {line}: "
    assert caught.value.cause.startswith(where), caught.value.cause


@pytest.mark.parametrize("text", ["", "[windows]\nsize_s = 10000\n"])
def test_what_the_environment_says_has_no_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "mira.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"mira\.toml: Expected `int` >= 1 - at `\$\.windows\.size_s`"):
        load_project(tmp_path, {"MIRA_WINDOWS__SIZE_S": "0"})


def test_a_large_file_is_searched_at_once() -> None:
    sources = "".join(f'[sources.s{n}]\ngroup = "qa"\npath = "{n}.jsonl"\n' for n in range(1_000))
    with pytest.raises(ConfigError, match=r"line 3002: \[sources\.s999\]"):
        read_settings((GROUP + sources).replace('"999.jsonl"', "3").encode(), Path("mira.toml"), {})
