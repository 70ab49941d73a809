"""The demo's sources, by name: real documents found or made on this machine."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from mira_stream.demo import corpus_qa, corpus_text
from mira_stream.demo.corpus_files import distinct
from mira_stream.errors import UsageError
from mira_stream.messages import Document

Wanted = Callable[[str], bool]
"""Whether a document with this id is asked for."""


class DemoSource(NamedTuple):
    """`documents(wanted)` yields the source's wanted documents, well spread, always in the same order."""

    name: str
    group: str
    documents: Callable[[Wanted], Iterator[Document]]


def _agent(name: str) -> Callable[[Wanted], Iterator[Document]]:
    def documents(wanted: Wanted) -> Iterator[Document]:
        # Episodes are executed one by one: the module is loaded only when they are asked for.
        from mira_stream.demo import corpus_agent

        return (document for document in corpus_agent.documents(name, 1_000_000, 0) if wanted(document.id))

    return documents


SOURCES: Final = (
    DemoSource("stdlib", "text", corpus_text.stdlib),
    DemoSource("distdocs", "text", corpus_text.distdocs),
    DemoSource("docstrings", "qa", corpus_qa.docstrings),
    DemoSource("doctests", "qa", corpus_qa.doctests),
    DemoSource("agent_careful", "agent", _agent("agent_careful")),
    DemoSource("agent_hasty", "agent", _agent("agent_hasty")),
)


def documents(source: str, count: int, wanted: Wanted = lambda _: True) -> Iterator[Document]:
    """At most `count` wanted documents of a source. Raises UsageError for a name that is none of SOURCES."""
    for known in SOURCES:
        if known.name == source:
            return islice(distinct(known.documents(wanted)), count)
    names = ", ".join(known.name for known in SOURCES)
    raise UsageError("source_unknown", f"the demo has no source {source!r}", f"use one of {names}")
