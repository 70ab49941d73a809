"""The journal: an append-only file of every answer that was paid for, so that none is paid for twice.

JSON Lines. First {"schema": "journal.v1", "about": {...}}: what the answers are labels of. Then one line an answer.
A line is written the moment its answer arrives, so that a killed process loses none; `sync` makes what is written
outlast a power failure, and answers are handed out only after it.
"""

import fcntl
import os
from collections.abc import Mapping
from hashlib import sha256
from itertools import count
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final

import msgspec
from msgspec import Struct

from mira_stream.errors import ConfigError, DataLossError, DependencyError
from mira_stream.teaching.port import Answer, Question

_HEAD_BEGINS: Final = b'{"schema":"journal.v1"'


class _Head(Struct, frozen=True, kw_only=True, tag_field="schema", tag="journal.v1"):
    about: dict[str, str]


class _Line(Struct, frozen=True, kw_only=True):
    """`digest` and `attempt` are part of what an answer is looked up by."""

    key: str
    digest: str
    attempt: int
    text: str
    finish_reason: str
    prompt_tokens: int
    generation_tokens: int


class _Indexed(Struct, frozen=True, kw_only=True):
    """What is kept in memory of a line, beside its place."""

    key: str
    digest: str
    attempt: int
    prompt_tokens: int
    generation_tokens: int


_encoder: Final = msgspec.json.Encoder()
_canonical: Final = msgspec.json.Encoder(order="deterministic")
_head: Final = msgspec.json.Decoder(_Head)
_line: Final = msgspec.json.Decoder(_Line)
_indexed: Final = msgspec.json.Decoder(_Indexed)


def question_digest(question: Question, model: str, temperature: float) -> str:
    """sha256 over all that an answer depends on: model, messages, max_tokens, temperature."""
    return sha256(_canonical.encode([model, question.messages, question.max_tokens, temperature])).hexdigest()


def tokens_of(path: Path) -> tuple[int, int]:
    """Prompt and generation tokens that a journal's answers took; it may be open elsewhere. Raises DataLossError."""
    prompt, generation = 0, 0
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if number and line.endswith(b"\n"):
                try:
                    one = _indexed.decode(line)
                except msgspec.DecodeError:
                    raise _damaged(path, number) from None
                prompt += one.prompt_tokens
                generation += one.generation_tokens
    return prompt, generation


def put_aside(path: Path) -> Path | None:
    """Keep what was paid for under a name of its own: that name, or None if there is nothing to keep.

    Raises ConfigError(journal_in_use).
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        _lock(file.fileno(), path)
        free = next(free for n in count(1) if not (free := path.with_name(f"{path.name}.{n}")).exists())
        return path.rename(free)


class Journal:
    """Open it as a context. `about` says what the answers are labels of; it is written into a new file, and an
    existing one must not say otherwise (ConfigError <name>_mismatch); `anew`: the command that asks all again.

    Raises ConfigError(journal_in_use) while another process has it, DataLossError if it is damaged before its end.
    A last line that was not written whole is dropped: its answer never counted.
    """

    def __init__(self, path: Path, about: Mapping[str, str] | None = None, anew: str = "") -> None:
        self.path = path
        self.anew = anew
        self.about: dict[str, str] = dict(about or {})
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self._places: dict[tuple[str, str, int], tuple[int, int]] = {}
        self._keys: set[str] = set()
        self._file = -1
        self._end = 0
        self._synced = 0
        self._syncing = Lock()

    def __repr__(self) -> str:
        return f"<Journal {self.path} answers={len(self)}>"

    def __len__(self) -> int:
        return len(self._places)

    def __enter__(self) -> "Journal":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            _lock(self._file, self.path)
            self._load()
        except BaseException:
            os.close(self._file)
            self._file = -1
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.sync()
        finally:
            with self._syncing:
                os.close(self._file)
                self._file = -1

    @property
    def reply_tokens(self) -> float | None:
        """Mean generation tokens of the answers it holds; None without any."""
        return self.generation_tokens / len(self) if self._places else None

    def find(self, question: Question, digest: str, attempt: int) -> Answer | None:
        """The answer that was paid for, if it was."""
        place = self._places.get((question.key, digest, attempt))
        if place is None:
            return None
        line = _line.decode(os.pread(self._file, place[1], place[0]))
        return Answer(line.text, line.finish_reason, line.prompt_tokens, line.generation_tokens)

    def __contains__(self, key: object) -> bool:
        """Whether a question of this key was answered, in whatever words it was asked."""
        return key in self._keys

    def is_left_behind(self, question: Question, digest: str) -> bool:
        """Whether what was paid for under the question's key answers it in other words, and not as it is asked now."""
        return question.key in self._keys and (question.key, digest, 1) not in self._places

    def add(self, question: Question, digest: str, attempt: int, answer: Answer) -> int:
        """Write an answer down; the length that `sync` must reach to make it safe. Raises DependencyError."""
        line = _Line(
            key=question.key,
            digest=digest,
            attempt=attempt,
            text=answer.text,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.prompt_tokens,
            generation_tokens=answer.generation_tokens,
        )
        start = self._end
        self._append(_encoder.encode(line) + b"\n")
        self._count((question.key, digest, attempt), (start, self._end - start), answer[2], answer[3])
        return self._end

    @property
    def synced(self) -> int:
        """So many bytes of the file are safe."""
        return self._synced

    def sync(self) -> None:
        """Make everything written so far safe. May run in a thread beside `add`. Raises DependencyError."""
        with self._syncing:
            end = self._end
            if end == self._synced or self._file < 0:
                return
            try:
                os.fsync(self._file)
            except OSError as error:
                raise self._unwritable(error) from None
            self._synced = end

    def _load(self) -> None:
        size = os.fstat(self._file).st_size
        with open(self._file, "rb", closefd=False) as file:
            for number, line in enumerate(file):
                if self._is_torn(line, number):
                    break
                self._take(line, number)
        if self._end < size:
            os.ftruncate(self._file, self._end)
        if self._end == 0:
            self._append(_encoder.encode(_Head(about=self.about)) + b"\n")
            self._sync_folder()
        self._synced = 0
        self.sync()

    def _is_torn(self, line: bytes, number: int) -> bool:
        """Whether it is the beginning of a line of ours whose end was never written."""
        return not line.endswith(b"\n") and (number > 0 or _HEAD_BEGINS.startswith(line[: len(_HEAD_BEGINS)]))

    def _take(self, line: bytes, number: int) -> None:
        """Count one line in. Raises DataLossError if it is none of a journal."""
        try:
            if number == 0:
                self._compare(_head.decode(line))
            else:
                one = _indexed.decode(line)
                place = (self._end, len(line))
                self._count((one.key, one.digest, one.attempt), place, one.prompt_tokens, one.generation_tokens)
        except msgspec.DecodeError:
            raise _damaged(self.path, number) from None
        self._end += len(line)

    def _compare(self, head: _Head) -> None:
        for name, wanted in self.about.items():
            if (found := head.about.get(name)) != wanted:
                raise ConfigError(
                    f"{name}_mismatch",
                    f"{self.path} was made with {name} {found}, this run has {wanted}",
                    f"go back to that one; or ask everything again: {self.anew or f'mv {self.path} {self.path}.aside'}",
                )
        self.about = head.about

    def _count(self, name: tuple[str, str, int], place: tuple[int, int], prompt: int, generation: int) -> None:
        self._places[name] = place
        self._keys.add(name[0])
        self.prompt_tokens += prompt
        self.generation_tokens += generation

    def _append(self, data: bytes) -> None:
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            os.ftruncate(self._file, self._end)
            raise self._unwritable(error) from None
        self._end += len(data)

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _unwritable(self, error: OSError) -> DependencyError:
        return DependencyError(
            "journal_unwritable",
            f"{self.path}: {error.strerror}",
            "make room on the disk and run the same command again: what is in the journal is not asked again",
        )


def _lock(file: int, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(
            "journal_in_use", f"{path} is written by another process", "wait for it, or stop it first"
        ) from None


def _damaged(path: Path, number: int) -> DataLossError:
    return DataLossError(
        "journal_damaged",
        f"{path}: line {number + 1} is no line of a journal",
        "restore the file, or take that line out: its answer will be asked for again",
    )
