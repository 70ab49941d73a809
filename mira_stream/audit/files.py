"""The exported files: each decision is one row of scores/, each selected document one row of kept/."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from hashlib import file_digest
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

from mira_stream.audit.collect import each
from mira_stream.audit.origins import DECISION, KEPT_ROW, SCORES_ROW, SELECTED, Ground, Origins
from mira_stream.audit.result import Findings
from mira_stream.audit.rows import COLUMNS, row_hashes
from mira_stream.audit.snapshot import Bounds
from mira_stream.errors import ConfigError
from mira_stream.exporting import place_of
from mira_stream.messages import Export, ExportedFile, decoder
from mira_stream.parquet import read_columns
from mira_stream.records import LogReader

GivenUp = Mapping[int, Sequence[tuple[int, int]]]
_export_decoder: Final = decoder(Export)


class Files:
    """Reads one file at a time and marks its rows on the origins. `written_off`: by partition of the decisions, up to
    which of them missing contents are."""

    def __init__(self, out: Path, origins: Origins, findings: Findings, written_off: Mapping[int, int]) -> None:
        self._out = out
        self._origins = origins
        self._findings = findings
        self._written_off = written_off
        self._rows_of: dict[str, int] = {}
        self.rows = {"scores": 0, "kept": 0}
        self.listed = 0
        self.contents_written_off = 0

    def read(self, files: Mapping[str, list[Path]]) -> None:
        """All rows of scores/ and kept/."""
        for path in files["scores"]:
            self._read(path, "scores", SCORES_ROW, 0)
        for path in files["kept"]:
            self._read(path, "kept", KEPT_ROW, SELECTED)

    async def compare_exports(self, reader: LogReader, exports: Bounds, given_up: GivenUp) -> None:
        """Files that the retained Export messages list are there, with these rows and bytes; those of a partition that
        was exported anew afterwards, and those that were given up, need not be."""
        counting: dict[int, list[ExportedFile]] = defaultdict(list)
        async for record in each(reader, exports):
            try:
                export = _export_decoder.decode(record.value or b"")
            except msgspec.DecodeError as error:
                self._findings.add(
                    "export_unreadable", f"{record.topic}/{record.partition}@{record.offset}", str(error)
                )
                continue
            if export.anew:
                counting[export.partition] = []
            ranges = given_up.get(export.partition, ())
            gone = any(first <= export.first and export.last <= last for first, last in ranges)
            counting[export.partition] += [file for file in export.files if not (gone and self._is_missing(file))]
        for _, files in sorted(counting.items()):
            for file in files:
                self._compare(file)

    def _is_missing(self, file: ExportedFile) -> bool:
        return not (self._out / file.path).exists()

    def _compare(self, file: ExportedFile) -> None:
        self.listed += 1
        try:
            with (self._out / file.path).open("rb") as opened:
                found = file_digest(opened, "sha256").hexdigest()
        except FileNotFoundError:
            detail = "it was exported but is not there; an exporter that starts finishes its renames"
            self._findings.add("file_missing", file.path, detail)
            return
        if found != file.sha256:
            self._findings.add("file_differs", file.path, f"its sha256 is {found}, {file.sha256} was exported")
        rows = self._rows_of.get(file.path)
        if rows is not None and rows != file.rows:
            self._findings.add("file_rows_differ", file.path, f"it has {rows} rows, {file.rows} were exported")

    def _read(self, path: Path, table: str, flag: int, wanted: int) -> None:
        name = path.relative_to(self._out).as_posix()
        kept = table == "kept"
        try:
            columns = read_columns(path, [*COLUMNS, "content_error"] if kept else COLUMNS)
        except ConfigError as error:
            self._findings.add("file_unreadable", name, error.cause)
            return
        self._rows_of[name] = len(columns["id"])
        self.rows[table] += len(columns["id"])
        places = zip(columns["origin_topic"], columns["origin_partition"], columns["origin_offset"], strict=True)
        rows = zip(places, columns["card_offset"], row_hashes(columns), strict=True)
        for index, (place, card_offset, row) in enumerate(rows):
            ground, where = self._origins.of_row(*place, card_offset)
            if ground is None and where == "unknown":
                self._findings.add("row_without_document", name, f"row {index}: no document is at {_name(*place)}")
            elif ground is not None:
                self._check(ground, place[2], row, flag, wanted, name)
        self._check_sources(path, columns, name)
        if kept:
            self._check_content(columns, name)

    def _check(self, ground: Ground, offset: int, row: int, flag: int, wanted: int, name: str) -> None:
        at = ground.name(offset)
        if ground.mark(offset, flag):
            self._findings.add("row_doubled", at, f"it stands a second time, in {name}")
        if not ground.has(offset, DECISION):
            self._findings.add("row_without_decision", at, f"it stands in {name}")
        elif ground.rows[offset - ground.first] != row:
            self._findings.add("row_differs", at, f"its row in {name} is not what the decision says")
        if wanted and not ground.has(offset, wanted):
            self._findings.add("kept_not_selected", at, f"it stands in {name}")

    def _check_sources(self, path: Path, columns: Mapping[str, list[Any]], name: str) -> None:
        strangers = {source for source in columns["source"] if source != path.parent.name}
        if strangers:
            self._findings.add("row_misplaced", name, f"it holds rows of {', '.join(sorted(map(str, strangers)))}")

    def _check_content(self, columns: Mapping[str, list[Any]], name: str) -> None:
        partition, last = place_of(PurePosixPath(name)) or (-1, 0)
        is_written_off = last <= self._written_off.get(partition, -1)
        for document_id, error in zip(columns["id"], columns["content_error"], strict=True):
            if error is None:
                continue
            if is_written_off:
                self.contents_written_off += 1
            else:
                self._findings.add("content_missing", name, f"{document_id}: {error}. do: {_content_fix(self._out)}")


def _content_fix(out: Path) -> str:
    return (
        f"its text is in the source's file, under this id; to do without it: mira-stream export --out {out}"
        " --accept-loss, once, which writes off what was exported without content until then. Keep documents longer"
        " (retention.ms)"
    )


def _name(topic: str, partition: int, offset: int) -> str:
    return f"{topic}/{partition}@{offset}"
