"""Verdicts about what our principal may do at a Kafka. Pure: operations are named as in its ACLs."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from mira_stream.doctor.verdict import Verdict, fail, ok, skipped

TOPIC_NEEDS: Final = ("READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS")
GROUP_NEEDS: Final = ("READ", "DESCRIBE")

Having = Mapping[str, Collection[str]]
"""Operations that we have, by name of the topic, group or id."""


def _missing(having: Having, needs: Sequence[str]) -> dict[str, str]:
    found = {name: ", ".join(one for one in needs if one not in have) for name, have in having.items()}
    return {name: lacks for name, lacks in found.items() if lacks}


def _lacking(what: str, missing: Mapping[str, str], fix: str) -> Verdict:
    shown = "; ".join(f"{name} lacks {lacks}" for name, lacks in list(missing.items())[:3])
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    return fail(f"{what} {shown}{more}", fix)


def topics(prefix: str, wanted: Sequence[str], having: Having, cluster: Collection[str]) -> Verdict:
    """`having`: of those that are there."""
    missing = _missing(having, TOPIC_NEEDS)
    acl = f"--topic {prefix}. --resource-pattern-type prefixed"
    if missing:
        needs = " ".join(f"--operation {one.title().replace('_', '')}" for one in TOPIC_NEEDS)
        return _lacking("topic", missing, f"kafka-acls.sh --add --allow-principal User:... {needs} {acl}")
    absent = [name for name in wanted if name not in having]
    if absent and "CREATE" not in cluster:
        return fail(
            f"{absent[0]} is not there, and CREATE on the cluster is not ours",
            f"let somebody who may create the topics run mira-stream prepare, or add --operation Create {acl}",
        )
    return ok(f"{', '.join(TOPIC_NEEDS)} on {len(having)}" + (f"; {len(absent)} can be created" if absent else ""))


def groups(prefix: str, having: Having) -> Verdict:
    missing = _missing(having, GROUP_NEEDS)
    if missing:
        acl = f"--group {prefix}. --resource-pattern-type prefixed"
        fix = f"kafka-acls.sh --add --allow-principal User:... --operation Read {acl}"
        return _lacking("consumer group", missing, fix)
    return ok(f"{', '.join(GROUP_NEEDS)} on {len(having)}") if having else skipped("the project has no group")


def transactional_ids(prefix: str, having: Having) -> Verdict:
    """Only Describe can be asked for without taking an id away from its owner; Write is tried by the transaction on
    `<prefix>.doctor`."""
    missing = _missing(having, ("DESCRIBE",))
    if missing:
        return _lacking(
            "transactional id",
            missing,
            "kafka-acls.sh --add --allow-principal User:... --operation Write --operation Describe "
            f"--transactional-id {prefix}. --resource-pattern-type prefixed",
        )
    return ok(f"{len(having)} can be used, as far as it can be told without taking them from their owners")
