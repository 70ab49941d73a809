"""Whether the export folder can be written to, for /readyz and mira_export_unavailable: it is tried, for only writing
shows a full disk."""

import asyncio
from typing import Final, NoReturn

import structlog

from mira_stream.clock import Monotonic, monotonic
from mira_stream.errors import DependencyError
from mira_stream.exporting import OutFolder
from mira_stream.streaming.health import Check

log: Final = structlog.get_logger("mira_stream.export")

EVERY_S: Final = 10.0
ANSWERED_MAX_S: Final = 30.0
"""A file system that has said nothing for so long hangs."""


class ExportFolder:
    """The last try counts until the next one has ended, or for ANSWERED_MAX_S."""

    def __init__(self, folder: OutFolder, now: Monotonic = monotonic) -> None:
        self._folder = folder
        self._out = folder.out
        self._now = now
        self._tried_s: float | None = None
        self._error: DependencyError | None = None

    async def go_on(self) -> NoReturn:
        """Try for ever, beside the loop: a mount that hangs holds back no probe. It is not tried, which may make it,
        before it is known what must be there."""
        await self._folder.known.wait()
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        before = self._error
        try:
            await asyncio.to_thread(self._folder.try_writing)
            self._error = None
        except DependencyError as error:
            self._error = error
        self._tried_s = self._now()
        if self._error is not None and before is None:
            log.warning("export folder", code=self._error.code, cause=self._error.cause, fix=self._error.fix)
        if self._error is None and before is not None:
            log.info("the export folder can be written to again", out=str(self._out))

    def why(self) -> DependencyError | None:
        """What is wrong with it now."""
        if self._error is not None:
            return self._error
        age_s = 0.0 if self._tried_s is None else self._now() - self._tried_s
        if age_s <= ANSWERED_MAX_S:
            return None
        cause = f"the file system of {self._out} has not answered for {age_s:.0f} s"
        return DependencyError("export_silent", cause, "look at the mount: a network file system may hang")

    def check(self) -> Check:
        name = "export_folder"
        if self._tried_s is None:
            return Check(name, False, None, f"{self._out} has not been tried yet", "wait; its file system may hang")
        age_s, error = self._now() - self._tried_s, self.why()
        return Check(name, True, age_s) if error is None else Check(name, False, age_s, error.cause, error.fix)
