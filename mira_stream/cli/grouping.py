"""What `mira-stream rubric group` and `rubric place` do: sources embedded, put into groups, written to mira.toml."""

from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from mira_stream.cli.output import talk
from mira_stream.cli.sampled import Steps, source_documents
from mira_stream.config import FILE_NAME, Project, read_settings
from mira_stream.discovery.placing import with_groups
from mira_stream.discovery.questions import draw_sample, sampled_texts
from mira_stream.discovery.report import grouping_page, grouping_picture, grouping_report, vectors_of
from mira_stream.embedding import Embedder
from mira_stream.errors import ConfigError, UsageError
from mira_stream.ingest.files import find_corpus
from mira_stream.rubric.grouping import (
    Grouping,
    Placement,
    SourceMean,
    check_k,
    group_sources,
    place_source,
    source_vector,
)
from mira_stream.sections import Family
from mira_stream.whole_file import replace_file

TEXT_CHARACTERS: Final = 4_000
"""So much of a document is embedded at most; a model reads as many tokens of it as it can (MiniLM: 256)."""
FAMILIES: Final[tuple[Family, ...]] = ("text", "qa", "agent")


def numbers_of_groups(project: Project, option: list[str] | None) -> dict[Family, int]:
    """--k N for every family, or --k family=N; else [grouping] k. Raises UsageError."""
    found: dict[Family, int] = dict.fromkeys(FAMILIES, project.settings.grouping.k)
    for text in option or ():
        family, equals, number = text.rpartition("=")
        if not number.isascii() or not number.isdigit() or (equals and family not in FAMILIES):
            raise UsageError(
                "k_invalid", f"--k {text!r}", "write --k N or --k FAMILY=N with text, qa or agent; 0: chosen"
            )
        for one in FAMILIES:
            if not equals or one == family:
                found[one] = int(number)
    return found


def group_project(project: Project, k: dict[Family, int], *, dry_run: bool) -> dict[str, Any]:
    """Group all sources with a path; the report. Without `dry_run`, mira.toml and reports/ are written."""
    settings = project.settings
    names = sorted(name for name, section in settings.sources.items() if section.path)
    if not names:
        raise ConfigError(
            "sources_missing", "no source of mira.toml has a path", "add [sources.S] with path and family"
        )
    for name in names:
        find_corpus(project.path(settings.sources[name].path))  # a wrong path is said before any work
    _check_k(project, names, k)
    embedder = Embedder(embedding_of(project))
    means = [_mean(project, name, embedder) for name in names]
    known = {group: frozenset(settings.sources_of(group)) for group in settings.groups}
    section = settings.grouping
    grouping = group_sources(means, k=k, scope=section.scope, seed=section.seed, known=known)
    report = {**grouping_report(grouping, means, _made(project, embedder)), "moved": _moved(project, grouping)}
    report["unlike"] = sorted(
        group.name for group in grouping.groups if group.within is not None and group.within < section.novel_below
    )
    report["without_sources"] = sorted(set(settings.groups) - {group.name for group in grouping.groups})
    if not dry_run:
        families = {group.name: group.family for group in grouping.groups}
        settled = _settings_with(project, grouping.group_of, families)
        _write_report(project, grouping, means, report)
        _write_settings(project, settled)  # last: a project that has groups has their report
    return report


def place_project(project: Project, source: str) -> tuple[Placement, bool]:
    """Where the source lies, and whether it is novel; one that is not is written into mira.toml."""
    settings = project.settings
    if source not in settings.sources:
        known = ", ".join(sorted(settings.sources)) or "none"
        raise UsageError("source_unknown", f"mira.toml has no source {source!r}; it has: {known}", "name one of them")
    embedder = Embedder(embedding_of(project))
    new = _mean(project, source, embedder)
    kept = _kept_means(project, embedder)
    groups = {
        group: [kept.get(name) or _mean(project, name, embedder) for name in members]
        for group, section in settings.groups.items()
        if section.family == new.family
        and (members := [name for name in settings.sources_of(group) if name != source and _has_path(project, name)])
    }
    placement = place_source(new, groups)
    novel = placement.cosine is None or placement.cosine < settings.grouping.novel_below
    if not novel and placement.group is not None:
        _write_settings(project, _settings_with(project, {source: placement.group}, {}))
    return placement, novel


def _check_k(project: Project, names: list[str], k: dict[Family, int]) -> None:
    """What can be known before anything is embedded."""
    if project.settings.grouping.scope == "group":
        for family, sources in Counter(project.settings.family_of(name) for name in names).items():
            check_k(family, k[family], sources)


def _mean(project: Project, name: str, embedder: Embedder) -> SourceMean:
    section = project.settings.grouping
    family = project.settings.family_of(name)
    sample = draw_sample(source_documents(project, name), family, section.sample_documents, section.seed)
    texts = [text[:TEXT_CHARACTERS] for _, text in sampled_texts(source_documents(project, name), family, sample)]
    if not texts:
        fix = f"look at {name}'s files, or take it out of mira.toml"
        raise ConfigError("source_empty", f"no document of source {name!r} can be read", fix)
    with Steps(talk, f"embed {name}") as steps:
        vector = source_vector(embedder.embed(sorted(texts), steps.at))
    talk.print(f"{name}: {len(texts)} documents embedded", markup=False)
    return SourceMean(name, family, vector, len(texts))


def _has_path(project: Project, name: str) -> bool:
    return bool(project.settings.sources[name].path)


def embedding_of(project: Project) -> str:
    """[discovery] embedding: a folder of the project directory, or the name as it is."""
    name = project.settings.discovery.embedding
    local = project.path(name)
    return str(local) if local.is_dir() else name


def _made(project: Project, embedder: Embedder) -> dict[str, Any]:
    section = project.settings.grouping
    return {
        "embedding": embedder.described,
        "sample_documents": section.sample_documents,
        "seed": section.seed,
        "scope": section.scope,
    }


def _moved(project: Project, grouping: Grouping) -> list[str]:
    """Groups that have a rubric already, and other sources now: their rubric was made for others."""
    return [
        group.name
        for group in grouping.groups
        if project.rubric_path(group.name).is_file()
        and set(group.sources) != set(project.settings.sources_of(group.name))
    ]


def _settings_with(project: Project, placed: dict[str, str], families: dict[str, Family]) -> str:
    """What mira.toml is to be. Raises ConfigError if it could not be read."""
    path = project.root / FILE_NAME
    after = with_groups(path.read_text(encoding="utf-8"), placed, families, project.settings.grouping.defaults)
    read_settings(after.encode(), path)
    return after


def _write_settings(project: Project, settings: str) -> None:
    path = project.root / FILE_NAME
    if settings != path.read_text(encoding="utf-8"):
        replace_file(path, settings.encode())


def _write_report(project: Project, grouping: Grouping, means: list[SourceMean], report: dict[str, Any]) -> None:
    folder = project.root / "reports"
    picture = grouping_picture(grouping, means)
    replace_file(folder / "grouping.json", orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
    replace_file(folder / "grouping.png", picture)
    replace_file(folder / "grouping.html", grouping_page(report, picture).encode())
    kept = {**{name: report[name] for name in _KEPT_UNDER}, "documents": {one.name: one.documents for one in means}}
    replace_file(_means_path(project), msgspec.json.encode({**kept, "vectors": vectors_of(means)}))


_KEPT_UNDER: Final = ("embedding", "sample_documents", "seed")


def _means_path(project: Project) -> Path:
    return project.root / "work" / "source-means.json"


def _kept_means(project: Project, embedder: Embedder) -> dict[str, SourceMean]:
    """Means of the last grouping, if they were made in the same way; else none, and they are made anew."""
    import numpy as np

    try:
        kept = msgspec.json.decode(_means_path(project).read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return {}
    made = _made(project, embedder)
    if any(kept.get(name) != made[name] for name in _KEPT_UNDER):
        return {}
    return {
        name: SourceMean(name, project.settings.family_of(name), np.array(vector, np.float32), kept["documents"][name])
        for name, vector in kept["vectors"].items()
        if name in project.settings.sources
    }
