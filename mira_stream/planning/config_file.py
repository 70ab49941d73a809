"""What can be told of a model folder's config.json before transformers, which takes long to import, reads it."""

from pathlib import Path
from typing import Final

import msgspec

from mira_stream.errors import ConfigError

FIX: Final = "name a model folder with a config.json"


def check_config(folder: Path) -> None:
    """Raises ConfigError(base_unreadable) where there is none, or none that is a JSON object."""
    if not folder.is_dir():
        raise ConfigError("base_unreadable", f"{folder} is no folder", FIX)
    path = folder / "config.json"
    try:
        found = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise ConfigError("base_unreadable", f"{path}: {error.strerror}", FIX) from None
    except msgspec.DecodeError as error:
        raise ConfigError("base_unreadable", f"{path}: {error}", FIX) from None
    if not isinstance(found, dict):
        raise ConfigError("base_unreadable", f"{path} is no JSON object", FIX)
