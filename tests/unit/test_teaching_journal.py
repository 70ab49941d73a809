"""The journal of answers: what a crash leaves is read again, what is damaged is refused."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mira_stream.errors import ConfigError, DataLossError, DependencyError
from mira_stream.teaching import Answer, Journal, Question
from mira_stream.teaching.journal import put_aside, question_digest, tokens_of


def question(n: int, content: str = "what?") -> Question:
    return Question(f"q/{n}", [{"role": "user", "content": content}], 20)


def answer(n: int) -> Answer:
    return Answer(f"the answer\n{n} ü\u2028 \"'", "stop", n, 2)


def digest(one: Question) -> str:
    return question_digest(one, "m", 0.0)


def fill(path: Path, count: int, start: int = 0) -> None:
    with Journal(path) as journal:
        for n in range(start, count):
            journal.add(question(n), digest(question(n)), 1, answer(n))


def test_answers_come_back_whole_and_are_counted(tmp_path: Path) -> None:
    fill(tmp_path / "j", 5)
    with Journal(tmp_path / "j") as journal:
        assert [journal.find(question(n), digest(question(n)), 1) for n in range(5)] == [answer(n) for n in range(5)]
        assert (len(journal), journal.prompt_tokens, journal.generation_tokens, journal.reply_tokens) == (5, 10, 10, 2)
        assert journal.find(question(0), digest(question(0)), 2) is None
        assert journal.find(question(0, "who?"), digest(question(0, "who?")), 1) is None
        assert journal.find(question(9), digest(question(0)), 1) is None


def test_the_digest_is_of_all_that_an_answer_depends_on() -> None:
    one = question(1)
    others = [
        question_digest(one, "n", 0.0),
        question_digest(one, "m", 0.1),
        question_digest(one._replace(max_tokens=21), "m", 0.0),
        question_digest(question(1, "who?"), "m", 0.0),
    ]
    assert len({digest(one), *others}) == 5
    assert digest(one) == digest(question(2))


@given(cut=st.integers(0, 1200))
@settings(max_examples=60, deadline=None)
def test_wherever_a_crash_cuts_it_what_is_whole_is_kept_and_asking_goes_on(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    fill(path, 5)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    kept = max(0, whole[:cut].count(b"\n") - 1)
    with Journal(path) as journal:
        assert len(journal) == kept
    fill(path, 5, kept)
    assert path.read_bytes() == whole


def test_an_answer_is_in_the_file_before_it_is_synced(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        end = journal.add(question(1), digest(question(1)), 1, answer(1))
        assert (tmp_path / "j").stat().st_size == end > journal.synced
        journal.sync()
        assert journal.synced == end


def test_damage_before_the_end_is_no_torn_tail(tmp_path: Path) -> None:
    fill(tmp_path / "j", 3)
    lines = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    (tmp_path / "j").write_bytes(b"".join([*lines[:2], b"\0\0\0\n", *lines[2:]]))
    with pytest.raises(DataLossError, match="line 3"), Journal(tmp_path / "j"):
        pass
    assert len((tmp_path / "j").read_bytes().splitlines()) == 5


@pytest.mark.parametrize("content", [b"my notes", b"my notes\nmore\n", b'{"schema":"other"}\n'])
def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(DataLossError, match="journal_damaged"), Journal(tmp_path / "j"):
        pass
    assert (tmp_path / "j").read_bytes() == content


def test_what_it_is_about_must_not_differ(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", {"rubric": "a"}):
        pass
    with Journal(tmp_path / "j") as journal:
        assert journal.about == {"rubric": "a"}
    with pytest.raises(ConfigError, match="rubric_mismatch"), Journal(tmp_path / "j", {"rubric": "b"}):
        pass


def test_two_processes_never_write_one_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "j"), pytest.raises(ConfigError, match="journal_in_use"), Journal(tmp_path / "j"):
        pass
    fill(tmp_path / "j", 1)


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    write = os.write
    with Journal(tmp_path / "j") as journal:
        journal.add(question(1), digest(question(1)), 1, answer(1))
        calls = iter([10])

        def full(file: int, data: bytes) -> int:
            for most in calls:
                return write(file, bytes(data)[:most])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(DependencyError, match="journal_unwritable"):
            journal.add(question(2), digest(question(2)), 1, answer(2))
        monkeypatch.undo()
        journal.add(question(3), digest(question(3)), 1, answer(3))
    with Journal(tmp_path / "j") as journal:
        assert len(journal) == 2
        assert journal.find(question(3), digest(question(3)), 1) == answer(3)


def test_put_aside_it_is_kept_and_one_in_use_stays(tmp_path: Path) -> None:
    put_aside(tmp_path / "j")
    fill(tmp_path / "j", 2)
    paid = tokens_of(tmp_path / "j")
    with Journal(tmp_path / "j") as journal:
        assert paid == (journal.prompt_tokens, journal.generation_tokens) != (0, 0)
        with pytest.raises(ConfigError, match="journal_in_use"):
            put_aside(tmp_path / "j")
    (tmp_path / "j.1").write_bytes(b"an older one")
    put_aside(tmp_path / "j")
    assert not (tmp_path / "j").exists()
    assert tokens_of(tmp_path / "j.2") == paid
    (tmp_path / "j.2").write_bytes(b"head\nno line\n")
    with pytest.raises(DataLossError, match="line 2"):
        tokens_of(tmp_path / "j.2")
