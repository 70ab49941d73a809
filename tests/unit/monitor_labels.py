"""Labels as the watch writes them, of a student that is good, bad or in between."""

import random
from collections.abc import Callable, Sequence

from mira_stream.label_messages import Inclusion, TeacherLabel
from mira_stream.messages import DIMENSIONS, SLOTS, CardPosition, Origin
from mira_stream.reliability.monitor import HOUR_MS

Student = Callable[[random.Random, Sequence[float]], list[float]]


def good(chance: random.Random, teacher: Sequence[float]) -> list[float]:
    return [min(10.0, max(1.0, score + chance.choice((-1, 0, 0, 0, 1)))) for score in teacher]


def blind(chance: random.Random, teacher: Sequence[float]) -> list[float]:
    """Good but for A1 and A2, where it guesses."""
    return [float(chance.randint(1, 10)) for _ in range(2)] + good(chance, teacher)[2:]


def label(
    number: int,
    hour: int,
    student: Student = good,
    source: str = "books",
    used: Sequence[str] = SLOTS,
    mask: str = "m",
    partition: int = 0,
    inclusion: Inclusion | None = None,
) -> TeacherLabel:
    """Decided on in this hour; all documents entered the log in the first."""
    chance = random.Random(f"{number} {source} {mask}")
    teacher = [float(chance.randint(1, 10)) for _ in range(DIMENSIONS)]
    return TeacherLabel(
        id=f"d{number}",
        source=source,
        group="text",
        origin=Origin(topic="t", partition=partition, offset=number, timestamp_ms=number % HOUR_MS),
        decided=CardPosition(partition=partition, offset=number),
        decided_ms=hour * HOUR_MS + number % HOUR_MS,
        lineage="l",
        mask=mask,
        arm="uniform",
        inclusion=inclusion or Inclusion(uniform=0.01, near=0.1 if number % 2 else 0.0),
        teacher="teacher",
        dimensions_used=list(used),
        student_scores=list(student(chance, teacher)),
        scores=list(teacher),
    )


def hours(
    students: Sequence[Student], labels: int = 100, first: int = 0, source: str = "books", **more: object
) -> list[TeacherLabel]:
    """So many labels an hour, hour by hour, of these students."""
    return [
        label(hour * 1_000 + number, hour, student, source, **more)  # type: ignore[arg-type]
        for hour, student in enumerate(students, start=first)
        for number in range(labels)
    ]
