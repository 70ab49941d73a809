"""What the watch counts. streaming/watch_metrics.py keeps it."""

from typing import Protocol

from mira_stream.label_messages import TeacherLabel


class WatchMetrics(Protocol):
    def labelled(self, label: TeacherLabel) -> None:
        """The label is committed."""
        ...

    def paid(self, prompt_tokens: int, generation_tokens: int, cost: float) -> None:
        """The teacher has answered once."""
        ...

    def waited(self) -> None:
        """The teacher is silent, and the watch waits for it."""
        ...

    def missed(self, decisions: int) -> None:
        """So many offsets of the decision log were deleted before the watch came to them."""
        ...
