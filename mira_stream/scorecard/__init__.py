"""The reply of a scorer: what it must look like and what is read out of it. Pure."""

from mira_stream.scorecard.expected import Expected, TokenLogprobs, expected_scores
from mira_stream.scorecard.head import OUTPUTS, read_outputs
from mira_stream.scorecard.justifications import read_justifications
from mira_stream.scorecard.reading import READ_MIN, Reading, parse
from mira_stream.scorecard.writing import Reply, check_mode, check_taught, reply_regex, write

__all__ = [
    "OUTPUTS",
    "READ_MIN",
    "Expected",
    "Reading",
    "Reply",
    "TokenLogprobs",
    "check_mode",
    "check_taught",
    "expected_scores",
    "parse",
    "read_justifications",
    "read_outputs",
    "reply_regex",
    "write",
]
