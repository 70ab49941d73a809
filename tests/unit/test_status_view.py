"""What `status` prints can be read on a narrow terminal and on a wide one."""

from io import StringIO

import pytest
from rich.console import Console

from mira_stream.cli.status_view import _short, view
from tests.browser.episode import Episode


def lines(width: int) -> tuple[list[str], list[str]]:
    """As printed in the middle of an episode of back-pressure, and the sentences that say why."""
    episode = Episode()
    episode.run(60, 3, 10)
    episode.lag_max = 3000
    snapshot = episode.run(400, 30, 10)
    console = Console(width=width, record=True, file=StringIO())
    console.print(view(snapshot, snapshot.at_ms))
    return console.export_text().splitlines(), [stage.cause for stage in snapshot.stages if stage.cause]


@pytest.mark.parametrize("width", [80, 120])
def test_sentences_are_lines_and_rows_are_rows(width: int) -> None:
    printed, causes = lines(width)
    assert len(causes) >= 4
    assert all(len(line) <= width for line in printed)
    text = " ".join(" ".join(printed).split())
    for cause in causes:
        assert cause in text
        begin = " ".join(cause.split()[:4])
        assert any(begin in line for line in printed), f"broken after a word or two: {cause}"
    for row in ("documents", "aggregator", "old-crawl", "distdocs"):
        assert any(line.split()[:1] == [row] and len(line.split()) >= 6 for line in printed), row
    assert any("1002 at epoch 12" in line and "0.24 drifted" in line for line in printed)


def test_what_was_wrong_with_a_document_is_cut_between_words() -> None:
    said = _short("the reply has 3 of 15 scores: 'I think\nthat this document is about " + "words " * 20)
    assert len(said) <= 80
    assert said.endswith(" words ...")
    assert _short("x" * 200) == "x" * 80
    assert _short("") == ""
