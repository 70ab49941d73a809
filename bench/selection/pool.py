"""Documents whose truth is known: good ones of the demo's sources, and what defects make of them.

Good documents are held-out ones that no student was trained on or measured on, short enough to be seen whole.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from random import Random
from typing import Final, NamedTuple

from msgspec.structs import replace

from bench.selection.decoys import DECOYS
from bench.selection.defects import DEFECTS, LEVELS
from mira_stream.chance import is_heldout, u
from mira_stream.config import Project
from mira_stream.demo import corpora
from mira_stream.demo.episodes.bank import TASKS
from mira_stream.demo.episodes.mutate import mutants, silent_mutants, surviving_mutants
from mira_stream.demo.episodes.task import Task
from mira_stream.distill.labels import is_measured
from mira_stream.ingest.placed import placed_group
from mira_stream.messages import Document, Parts
from mira_stream.render import render
from mira_stream.sections import Family

CHARACTERS: Final = range(250, 1500)
"""A rendered document of so many characters is seen whole, its decoys and defects nearly so."""


class Known(NamedTuple):
    """A document and its truth. `level` 0 is good; `defect` names what was done to it (or `decoy:...`); `base` is
    the id of the good document it was made of, or the function an episode is about; `like`: ids of the good documents
    a decoy is as good as."""

    document: Document
    group: str
    defect: str
    level: int
    base: str
    seed: int = 0
    like: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        return self.level == 0


def good(project: Project, source: str, count: int) -> list[Document]:
    """`count` good documents of a source (fewer if there are no more), those longer or shorter passed over."""
    family = _family(project, source)
    fitting = (one for one in corpora.documents(source, 10**9, _unseen) if len(render(one, family)) in CHARACTERS)
    return list(islice(fitting, count))


def half_damaged(project: Project, source: str, documents: Sequence[Document], seed: int) -> list[Known]:
    """The documents, every second one with a defect of a random kind at a random level."""
    group, family = group_of(project, source), _family(project, source)
    chance = Random(f"pool/{source}/{seed}")
    damaged = set(chance.sample(range(len(documents)), len(documents) // 2))
    found = []
    for index, document in enumerate(documents):
        if index not in damaged:
            found.append(Known(_opaque(document, ""), group, "", 0, document.id, seed))
            continue
        level = chance.randint(1, LEVELS)
        names = chance.sample(sorted(DEFECTS[family]), len(DEFECTS[family]))
        planted = (_planted(document, group, family, name, level, seed) for name in names)
        found.append(next(one for one in planted if _differ(one.document, document, family)))
    return found


def ladder(project: Project, source: str, documents: Sequence[Document]) -> Iterator[Known]:
    """Every document good, and at every level of every defect of its family that changes it at all of them."""
    group, family = group_of(project, source), _family(project, source)
    for document in documents:
        yield Known(_opaque(document, ""), group, "", 0, document.id)
        for name in DEFECTS[family]:
            rungs = [_planted(document, group, family, name, level, 0) for level in range(1, LEVELS + 1)]
            if all(_differ(one.document, document, family) for one in rungs):
                yield from rungs


def decoys(project: Project, source: str, documents: Sequence[Document]) -> Iterator[Known]:
    """Every decoy of the family, made of four documents in a row; level 0: none is worse than the first."""
    group, family = group_of(project, source), _family(project, source)
    for name, (decoy, _) in DECOYS[family].items():
        for start in range(len(documents)):
            four = [documents[(start + step) % len(documents)] for step in range(4)]
            made = decoy(four, Random(f"{name}/{start}"))
            like = four if name == "four_times_as_long" else four[:1]
            ids = tuple(one.id for one in like)
            yield Known(_opaque(made, name), group, f"decoy:{name}", 0, four[0].id, like=ids)


def functions(project: Project, group: str, count: int, most: int) -> list[tuple[Known, bool]]:
    """`count` functions of the bank, right and with up to `most` faults that a test notices and as many that none
    does, each with whether all its tests pass (executed).

    Text: the code alone. qa: the code as answer to what it should do.
    """
    source = next(name for name, section in project.settings.sources.items() if section.group == group)
    family = project.settings.groups[group].family
    found = []
    for task in sorted(TASKS, key=lambda task: u("seed", task.name))[:count]:
        right = _function(task, task.code, "right", source, family)
        found.append((Known(_opaque(right, ""), group, "", 0, right.id), True))
        for mutant in surviving_mutants(task)[:most]:
            changed = _function(task, mutant.code, mutant.name, source, family)
            found.append((Known(_opaque(changed, ""), group, "mutant", 0, right.id), True))
        for mutant in [*mutants(task)[:most], *silent_mutants(task)[:1]]:
            wrong = _function(task, mutant.code, mutant.name, source, family)
            found.append((Known(_opaque(wrong, ""), group, "mutant", 1, right.id), False))
    return found


def _function(task: Task, code: str, name: str, source: str, family: Family) -> Document:
    identifier = f"function/{family}/{task.name}/{name}"
    if family == "qa":
        question = f"How do I write `{task.name}` in Python? {task.about}"
        return Document(id=identifier, source=source, parts=Parts(question=question, answer=f"```python\n{code}\n```"))
    return Document(id=identifier, source=source, text=f'"""{task.about}"""\n\n\n{code}\n')


def _planted(document: Document, group: str, family: Family, name: str, level: int, seed: int) -> Known:
    changed = DEFECTS[family][name](document, level, Random(f"{document.id}/{name}"))
    return Known(_opaque(changed, f"{name}{level}"), group, name, level, document.id, seed)


def _opaque(document: Document, what: str) -> Document:
    """The document under an id that tells nobody what was done to it."""
    return replace(document, id=blake2b(f"{document.id}~{what}".encode(), digest_size=10).hexdigest())


def _differ(one: Document, other: Document, family: Family) -> bool:
    """Whether a scorer could see a difference: a defect that changed nothing is none."""
    return render(one, family) != render(other, family)


def group_of(project: Project, source: str) -> str:
    """The source's group. Raises ConfigError for a source without one."""
    return placed_group(source, project.settings.sources[source])


def _family(project: Project, source: str) -> Family:
    return project.settings.family_of(source)


def _unseen(document_id: str) -> bool:
    return is_heldout(document_id) and not is_measured(document_id)
