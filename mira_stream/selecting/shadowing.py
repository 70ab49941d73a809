"""What a shadow is asked: what was set by command of the live stream holds for it, too. Pure."""

from collections.abc import Collection

from mira_stream.config import Settings
from mira_stream.messages import Policy
from mira_stream.selecting.policies import PolicyLog


def as_live(live: PolicyLog, own: PolicyLog, settings: Settings) -> list[tuple[str, Policy]]:
    """The records of keys that the shadow's project has, which were set by command of the live stream, or were and no
    longer are, as far as the shadow's log does not say the same. No masks: those belong to a lineage. Published over
    them (publish.py), the project's own records leave them as a live `prepare` would."""
    chosen: list[tuple[str, Policy]] = []
    for key in live.keys:
        newest, held = live.newest_policy(key), own.newest_policy(key)
        if newest is None or key not in _keys(settings):
            continue
        is_by_command = "command" in (newest.by, "" if held is None else held.by)
        if is_by_command and newest != held:
            chosen.append((key, newest))
    return chosen


def _keys(settings: Settings) -> Collection[str]:
    return {"*", *(f"group:{name}" for name in settings.groups), *(f"source:{name}" for name in settings.sources)}
