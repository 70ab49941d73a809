"""Reads a corpus: files and folders, row by row, into documents. Nothing here knows a broker or pyarrow."""

from mira_stream.ingest.files import Corpus, CorpusFile, find_corpus
from mira_stream.ingest.folder import FolderReader
from mira_stream.ingest.mapping import RowMapping
from mira_stream.ingest.option import corpus_source, known_source
from mira_stream.ingest.ports import BadRow, Readers
from mira_stream.ingest.reading import Reading, read_file

__all__ = [
    "BadRow",
    "Corpus",
    "CorpusFile",
    "FolderReader",
    "Readers",
    "Reading",
    "RowMapping",
    "corpus_source",
    "find_corpus",
    "known_source",
    "read_file",
]
