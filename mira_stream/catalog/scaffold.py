"""A project directory for released students: their cards' settings, and plain gaps where nothing is public. Pure."""

import shlex
from collections.abc import Sequence
from typing import Final

import tomlkit
from tomlkit.items import Table

from mira_stream.catalog.students import Catalog, Student
from mira_stream.errors import UsageError
from mira_stream.prompt import NOT_IMPORTED
from mira_stream.rubric.anchors import Anchor, RubricHeader, write_rubric

DOCUMENT_TOKENS_MAX: Final = 60_000
"""So long do records get (MIRA model card); the rest of the context is for prompt and reply."""
CREATED_BY: Final = "catalog: slot names and cluster sizes of the model card; descriptions and examples are not public"
"""What the header of such a rubric says: an import replaces it, a made one it does not."""


def project_files(students: Sequence[Student], catalog: Catalog, *, trust_remote_code: bool) -> dict[str, bytes]:
    """Path in the project directory -> content. Raises UsageError(source_twice)."""
    files = {"mira.toml": _settings(students, catalog, trust_remote_code).encode()}
    for student in students:
        for part in ("system", "user"):
            files[f"prompts/{student.name}/{part}.txt"] = _placeholder(student, part).encode()
        if student.slots is not None:
            files[f"rubrics/{student.name}.jsonl"] = _rubric(student, catalog)
    return files


def next_commands(students: Sequence[Student], directory: str) -> list[str]:
    """What is to be done before the project can serve, in order."""
    lines = []
    directory = shlex.quote(directory)
    for one in students:
        if one.repository:
            lines.append(f"hf download {one.repository} --local-dir {directory}/students/{one.name}")
        lines.append(f"mira-stream prompt import -g {one.name} --system FILE --user FILE --project {directory}")
        lines.append(f"mira-stream rubric import FILE -g {one.name} --project {directory}")
        lines.append(f"mira-stream prompt show -g {one.name} --project {directory}")
    return [*lines, f"mira-stream up --project {directory}"]


def _settings(students: Sequence[Student], catalog: Catalog, trust_remote_code: bool) -> str:
    document = tomlkit.document()
    document.add(
        tomlkit.comment("Released MIRA students. What their cards do not say is said to be unknown, not guessed.")
    )
    document.add(
        tomlkit.comment("Nothing is served until a student's own prompt template and anchor file are imported.")
    )
    document.add(
        tomlkit.comment("Text beyond [tokens] train_cutoff_tokens (32,768) is cut off before a student reads it.")
    )
    groups, sources = tomlkit.table(is_super_table=True), tomlkit.table(is_super_table=True)
    for student in students:
        groups.add(student.name, _group(student, catalog, trust_remote_code))
        for source in student.sources:
            if source.name in sources:
                raise UsageError("source_twice", f"two students have a source {source.name!r}", "one project for each")
            sources.add(source.name, _source(student, source.description))
    document.add("groups", groups)
    if sources:
        document.add("sources", sources)
    return tomlkit.dumps(document)


def _group(student: Student, catalog: Catalog, trust_remote_code: bool) -> Table:
    serving = catalog.serving
    table = tomlkit.table()
    for line in _about(student, catalog):
        table.add(tomlkit.comment(line))
    table.add("family", student.family)
    table.add(
        tomlkit.comment(
            'In this process; or serve it elsewhere: engine = "openai", base_urls = ["http://HOST:8000/v1"].'
        )
    )
    table.add("engine", "vllm")
    table.add("student", f"students/{student.name}")
    table.add(tomlkit.comment("A released folder does not say whose student it is: you vouch that it is this one."))
    table.add("foreign", True)
    if student.repository is not None:
        table.add("model", student.repository)
    table.add("mode", serving.mode)
    table.add("layout", serving.layout)
    table.add("document_tokens_max", DOCUMENT_TOKENS_MAX)
    table.add("context_tokens_max", serving.context_tokens_max)
    table.add("reply_tokens_max", serving.reply_tokens_max)
    table.add("temperature", serving.temperature)
    table.add("top_p", serving.top_p)
    table.add("trust_remote_code", trust_remote_code)
    table.add("tensor_parallel_size", serving.tensor_parallel_size)
    table.add("gpu_memory_utilization", serving.gpu_memory_utilization)
    table.add("max_num_batched_tokens", serving.max_num_batched_tokens)
    table.add("dtype", serving.dtype)
    return table


def _about(student: Student, catalog: Catalog) -> list[str]:
    whose = "its card" if catalog.serving.card == student.name else f"the card of {catalog.serving.card} (same base)"
    group, domain = student.group or "unknown", student.domain or "domain unknown"
    return [
        f"{student.name}: the authors' {student.family} group {group}; {domain}.",
        f"Base {catalog.base_model}, teacher {catalog.teacher}, licence {student.licence or 'unknown'}.",
        f"Prompt family {student.prompt_family or 'anchored'}. Settings of {whose}.",
        f"Not public: {', '.join(student.unknown)}.",
    ]


def _source(student: Student, description: str | None) -> Table:
    table = tomlkit.table()
    table.add("group", student.name)
    table.add("description", description or (f"of the group: {student.domain}" if student.domain else ""))
    table.add(tomlkit.comment('path = "..."'))
    return table


def _rubric(student: Student, catalog: Catalog) -> bytes:
    header = RubricHeader(group=student.name, teacher=catalog.teacher, created_by=CREATED_BY)
    return write_rubric(
        header,
        [
            Anchor(slot=one.slot, name=one.name, description="", examples=[], cluster_size=one.cluster_size)
            for one in student.slots or []
        ],
    )


def _placeholder(student: Student, part: str) -> str:
    return (
        f"{NOT_IMPORTED}: the {part} template that {student.name} was trained with is not public.\n"
        f"Put it here with: mira-stream prompt import --group {student.name} --system FILE --user FILE\n"
    )
