"""The folder that everything is exported to: made only if nothing was exported before, for what was must be in it."""

import asyncio
from pathlib import Path, PurePosixPath
from typing import Final

import structlog

from mira_stream.exporting.ledger import last_export
from mira_stream.exporting.staging import export_gone, in_thread, make_folder, try_writing, writing
from mira_stream.messages import Export
from mira_stream.records import LogReader

log: Final = structlog.get_logger("mira_stream.export")


class OutFolder:
    """Shared by all partitions of an exporter. One that was moved away, or whose mount is gone and has left an empty
    mount point, must not be begun anew unseen: half of the export would stand elsewhere.

    It is recognised by the folders `scores/<source>` and `kept/<source>` that the last exports wrote to, not by single
    files: these may be taken away to be archived. `accept_loss`: begin anew, once, when that is how it is found.
    """

    def __init__(self, out: Path, *, accept_loss: bool = False) -> None:
        self.out = out
        self.accept_loss = accept_loss
        self.known = asyncio.Event()
        """What was exported before was read from the log."""
        self._lock = asyncio.Lock()
        self._written: dict[int, frozenset[PurePosixPath]] = {}
        self._passed_over: dict[int, int] = {}
        """By partition, the last decision whose export was given up."""

    async def look_back(self, reader: LogReader, exports: str) -> None:
        """Learn from the log, once, what must be there. `exports`: the topic's full name. Raises DependencyError."""
        async with self._lock:
            if self.known.is_set():
                return
            found = [await last_export(reader, partition) for partition in await reader.partitions(exports)]
            for export in found:
                self.wrote(export)
            if self.accept_loss and await in_thread(self._is_gone):
                log.warning("what was exported before is gone: begins anew", out=str(self.out), accept_loss=True)
                self._written.clear()
                self._passed_over = {export.partition: export.last for export in found if export is not None}
            self.known.set()

    def wrote(self, export: Export | None) -> None:
        """The newest Export of a partition."""
        if export is not None and not self.passes_over(export):
            self._written[export.partition] = frozenset(PurePosixPath(file.path).parent for file in export.files)

    def passes_over(self, export: Export) -> bool:
        """Whether its files were given up."""
        return export.last <= self._passed_over.get(export.partition, -1)

    def check(self) -> None:
        """Make it if nothing was exported yet. Raises FolderAway(export_gone, export_unwritable, disk_full)."""
        if self._is_gone():
            raise export_gone(self.out)
        with writing(self.out):
            make_folder(self.out)

    def try_writing(self) -> None:
        """Write a page that is gone afterwards. Raises FolderAway like `check`."""
        self.check()
        try_writing(self.out)

    def _is_gone(self) -> bool:
        written = [folder for folders in list(self._written.values()) for folder in folders]
        with writing(self.out):
            return bool(written) and not any((self.out / folder).is_dir() for folder in written)
