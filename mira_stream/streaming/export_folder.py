"""Whether the export folder can be written to, for /readyz and mira_export_unavailable: it is tried, for only writing
shows a full disk, and what the export itself cannot write counts, too, for that is larger."""

import asyncio
from typing import Final, NoReturn

import structlog

from mira_stream.clock import Monotonic, monotonic
from mira_stream.errors import DependencyError, FolderAway
from mira_stream.exporting import OutFolder
from mira_stream.streaming.health import Check

log: Final = structlog.get_logger("mira_stream.export")

EVERY_S: Final = 10.0
ANSWERED_MAX_S: Final = 30.0
"""A file system that has said nothing for so long hangs."""
WAITS_S: Final = 60.0
"""So long a failure of the export counts: it is tried again every 20 s, unless another exporter has the partition."""


class ExportFolder:
    """The last try counts until the next one has ended, or for ANSWERED_MAX_S; what the export could not write until it
    has written it, or for WAITS_S."""

    def __init__(self, folder: OutFolder, now: Monotonic = monotonic) -> None:
        self._folder = folder
        self._out = folder.out
        self._now = now
        self._tried_s: float | None = None
        self._error: DependencyError | None = None
        self._waits: dict[int, tuple[FolderAway, float]] = {}
        self._said = False
        folder.told = self._told

    async def go_on(self) -> NoReturn:
        """Try for ever, beside the loop: a mount that hangs holds back no probe. It is not tried, which may make it,
        before it is known what must be there."""
        await self._folder.known.wait()
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        try:
            await asyncio.to_thread(self._folder.try_writing)
            self._error = None
        except DependencyError as error:
            self._error = error
        self._tried_s = self._now()
        wrong = self._failed()
        if wrong is not None and not self._said:
            log.warning("export folder", code=wrong.code, cause=wrong.cause, fix=wrong.fix)
        if wrong is None and self._said:
            log.info("the export folder can be written to again", out=str(self._out))
        self._said = wrong is not None

    def why(self) -> DependencyError | None:
        """What is wrong with it now."""
        if (error := self._failed()) is not None:
            return error
        age_s = 0.0 if self._tried_s is None else self._now() - self._tried_s
        if age_s <= ANSWERED_MAX_S:
            return None
        cause = f"the file system of {self._out} has not answered for {age_s:.0f} s"
        return DependencyError("export_silent", cause, "look at the mount: a network file system may hang")

    def _failed(self) -> DependencyError | None:
        """The last try's error, else that of what the export has failed to write since, and has not written."""
        waiting = (error for error, at_s in self._waits.values() if self._now() - at_s <= WAITS_S)
        return self._error or next(waiting, None)

    def _told(self, partition: int, error: FolderAway | None) -> None:
        if error is None:
            self._waits.pop(partition, None)
        else:
            self._waits[partition] = error, self._now()

    def check(self) -> Check:
        name = "export_folder"
        if self._tried_s is None:
            return Check(name, False, None, f"{self._out} has not been tried yet", "wait; its file system may hang")
        age_s, error = self._now() - self._tried_s, self.why()
        return Check(name, True, age_s) if error is None else Check(name, False, age_s, error.cause, error.fix)
