"""Which of the requests in flight kills the engine: halves of them are tried apart until one dies alone. Pure.

After a death only its suspects may run, one half of them at a time, and everybody else waits. A half that is
answered is cleared; a half that dies is halved again. So `n` requests in flight cost at most ceil(log2 n) + 1 deaths
(two for n = 1: one death of a lone request may be chance), and whoever is not guilty is answered.
"""

from collections.abc import Iterable

Call = int
"""One request from asked to answered; two with the same content are two calls."""


class Trial:
    """No suspects: everybody may run."""

    def __init__(self) -> None:
        self._halves: list[set[Call]] = []

    @property
    def is_on(self) -> bool:
        return bool(self._halves)

    def may_run(self, call: Call) -> bool:
        return not self._halves or call in self._halves[0]

    def died(self, running: Iterable[Call]) -> Call | None:
        """The engine ended while these calls were running; the guilty one, if that is clear now.

        A death in a half explains the death before it: the other half is no longer suspected.
        """
        suspects = list(running)
        if not suspects:
            return None
        if len(suspects) == 1 and self._halves:
            self._halves.clear()
            return suspects[0]
        middle = (len(suspects) + 1) // 2
        self._halves = [half for half in (set(suspects[:middle]), set(suspects[middle:])) if half]
        return None

    def over(self, call: Call) -> None:
        """The call was answered, refused or given up."""
        for half in self._halves:
            half.discard(call)
        self._halves = [half for half in self._halves if half]
