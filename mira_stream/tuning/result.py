"""A search as it is saved: PROJECT/bench/<when>-tune.json. Pure."""

from typing import Final

from mira_stream.benching.result import Header
from mira_stream.tuning.search import Duel
from mira_stream.tuning.space import Value

SCHEMA: Final = "tune.v1"


class TuneRun(Header, frozen=True, kw_only=True):
    """`start`: the settings in force before; `changes`: what was proven faster; `written`: whether mira.toml has it.
    `notes`: what the figures cannot tell."""

    group: str
    documents: int
    outstanding: int
    pairs: int
    start: dict[str, Value]
    changes: dict[str, Value]
    written: bool
    duels: list[Duel]
    notes: list[str]
