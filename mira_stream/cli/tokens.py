"""The token that requests to a service must bring: from a file or the environment, never from the command line, where
every user of the machine could read it."""

import os
from pathlib import Path
from typing import Final

from mira_stream.errors import ConfigError

TOKEN_CHARACTERS_MIN: Final = 16


def token_of(file: Path | None, variable: str) -> str:
    """The token of the file, else of the environment variable; empty if there is neither. Raises ConfigError."""
    if file is None:
        token, where = os.environ.get(variable, ""), variable
    else:
        where = str(file)
        try:
            token = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("token_unreadable", f"{file}: {error}", "write the token into this file") from None
    if not token and file is None:
        return ""
    if len(token) < TOKEN_CHARACTERS_MIN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            "token_weak",
            f"{where} holds no token of at least {TOKEN_CHARACTERS_MIN} printable characters",
            "make one: openssl rand -hex 32",
        )
    return token
