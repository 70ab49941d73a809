"""What a handler has to have besides its work, where it keeps nothing between documents."""

from collections.abc import Sequence

from mira_stream.records import Outgoing


class Stateless:
    """The rest of `streaming.ports.Handler` for a class with a `handle`."""

    async def open(self, next_offset: int) -> None: ...

    async def seal(self, next_offset: int) -> Sequence[Outgoing]:
        return ()

    async def committed(self) -> None: ...

    async def close(self) -> None: ...
