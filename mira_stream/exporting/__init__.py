"""Decisions become tables: every decision with its scores, the selected ones with their content."""

from mira_stream.exporting.epochs import epoch_columns
from mira_stream.exporting.folder import OutFolder, finish_exports, given_up, without_content
from mira_stream.exporting.handler import ExportingFactory
from mira_stream.exporting.staging import place_of
from mira_stream.exporting.windows import window_columns

__all__ = [
    "ExportingFactory",
    "OutFolder",
    "epoch_columns",
    "finish_exports",
    "given_up",
    "place_of",
    "window_columns",
    "without_content",
]
