"""What `up` tells its services."""

from pathlib import Path

from mira_stream.cli.up import options_of


def test_a_loss_is_accepted_by_those_who_can_meet_one() -> None:
    told = {name: options_of(name, Path("/out"), True) for name in ("score", "aggregate", "export")}
    assert told == {"score": ["--accept-loss"], "aggregate": [], "export": ["--out", "/out", "--accept-loss"]}
    assert options_of("score", Path("/out"), False) == []
    assert options_of("export", Path("/out"), False) == ["--out", "/out"]
