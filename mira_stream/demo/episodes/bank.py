"""All tasks of the bank."""

from typing import Final

from mira_stream.demo.episodes.bank_collections import COLLECTIONS
from mira_stream.demo.episodes.bank_numbers import NUMBERS
from mira_stream.demo.episodes.bank_parsing import PARSING
from mira_stream.demo.episodes.bank_text import TEXT
from mira_stream.demo.episodes.task import Task

TASKS: Final[tuple[Task, ...]] = (*TEXT, *NUMBERS, *COLLECTIONS, *PARSING)
