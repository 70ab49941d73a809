"""The reply of a scorer: what it must look like and what is read out of it. Pure."""

from mira_stream.scorecard.justifications import read_justifications
from mira_stream.scorecard.reading import READ_MIN, Reading, parse
from mira_stream.scorecard.writing import Reply, check_mode, reply_regex, write

__all__ = ["READ_MIN", "Reading", "Reply", "check_mode", "parse", "read_justifications", "reply_regex", "write"]
