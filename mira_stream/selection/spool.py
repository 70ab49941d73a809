"""What ranking needs of every card, on disk: 28 bytes a card, read back in chunks."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from mira_stream.selection.ranking import Chunk, Counts, Orders

CHUNK_CARDS: Final = 2**18
_KINDS: Final[dict[str, Any]] = {"order": np.uint64, "tie": np.uint64, "tokens": np.int64, "source": np.int32}


class Spool:
    """Cards in reading order; owns its files in `folder`. Add all of them, then read as often as needed."""

    def __init__(self, folder: Path, chunk_cards: int = CHUNK_CARDS) -> None:
        folder.mkdir(parents=True)
        self._paths = {name: folder / name for name in _KINDS}
        self._files: dict[str, BinaryIO] = {name: path.open("xb") for name, path in self._paths.items()}
        self._chunk_cards = chunk_cards
        self._codes: dict[str, int] = {}
        self.names: list[str] = []
        self.cards = 0

    def add(self, order: Orders, tie: Orders, tokens: Counts, sources: Sequence[str]) -> None:
        """Raises OSError as the file system does."""
        codes = np.array([self._codes.setdefault(source, len(self._codes)) for source in sources], dtype=np.int32)
        columns: dict[str, NDArray[Any]] = {"order": order, "tie": tie, "tokens": tokens, "source": codes}
        for name, column in columns.items():
            self._files[name].write(column.astype(_KINDS[name]).tobytes())
        self.cards += len(codes)

    def seal(self) -> None:
        """All cards are there: sources get their codes in order of their names. Raises OSError."""
        for file in self._files.values():
            file.close()
        self.names = sorted(self._codes)

    def chunks(self) -> Iterator[Chunk]:
        """The cards again, in the order they were added."""
        number = {name: code for code, name in enumerate(self.names)}
        final = np.array([number[name] for name in self._codes], dtype=np.int32)
        for start in range(0, self.cards, self._chunk_cards):
            found = {name: self._read(name, start) for name in _KINDS}
            yield Chunk(found["order"], found["tie"], found["tokens"], final[found["source"]])

    def repeated(self, keys_max: int = 2**22) -> int:
        """Cards whose id their source has had before. `tie` is a hash of the id, so it stands for it; `keys_max` of
        them are in memory at a time, and as many passes are made as that takes."""
        passes = -(-self.cards // keys_max)
        found = 0
        for number in range(passes):
            keys = (_keys(chunk) for chunk in self.chunks())
            mine = np.concatenate([key[key % np.uint64(passes) == number] for key in keys])
            found += mine.size - np.unique(mine).size
        return found

    def _read(self, name: str, start: int) -> NDArray[Any]:
        size = np.dtype(_KINDS[name]).itemsize
        return np.fromfile(self._paths[name], dtype=_KINDS[name], count=self._chunk_cards, offset=start * size)


def _keys(chunk: Chunk) -> Orders:
    """The tie, and the source mixed into it (by Knuth's multiplicative hash)."""
    spread: Orders = chunk.source.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return chunk.tie ^ spread
