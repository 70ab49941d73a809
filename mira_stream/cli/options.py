"""Options that many commands share, written once."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer


def given(context: typer.Context, names: Iterable[str]) -> list[str]:
    """Of these parameters those that stand on the command line, as it writes them: what would be ignored is refused."""
    sources = {name: context.get_parameter_source(name) for name in names}
    return [
        f"--{name.replace('_', '-')}"
        for name, source in sources.items()
        if source is not None and source.name == "COMMANDLINE"
    ]


ProjectOption = Annotated[
    Path, typer.Option("--project", help="The MIRA project directory (it holds mira.toml).", envvar="MIRA_PROJECT")
]
BootstrapOption = Annotated[
    str | None,
    typer.Option("--bootstrap-servers", help="Use this Kafka (host:port,...) instead of the one mira.toml names."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Data as JSON on standard output; talk stays on standard error.")
]
MetricsPortOption = Annotated[
    int,
    typer.Option(
        "--metrics-port", help="Serve metrics and probes on 127.0.0.1 at this port (0: none).", min=0, max=65535
    ),
]
ProducerPortOption = Annotated[
    int,
    typer.Option(
        "--metrics-port", help="Serve metrics and probes on 127.0.0.1 at this port (0: any free one).", min=0, max=65535
    ),
]
MaxCostOption = Annotated[
    float | None,
    typer.Option(
        "--max-cost", min=0, help="Stop before the teacher could cost more than this in all (resumed runs too)."
    ),
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option("--max-tokens", min=0, help="Stop before the teacher could take more tokens than this in all."),
]
RetryUnreadOption = Annotated[
    bool, typer.Option("--retry-unread", help="Ask again what no answer so far could be read of; it is paid for again.")
]
AskAgainOption = Annotated[
    bool, typer.Option("--yes", help="Agree to ask again what was answered, paid for, and fits no question any more.")
]
ConcurrencyOption = Annotated[
    int | None, typer.Option("--concurrency", min=1, help="Questions asked at once (default: that of mira.toml).")
]
RunsOption = Annotated[Path | None, typer.Option("--out", help="The folder of saved runs. Default: PROJECT/bench.")]
InstanceOption = Annotated[
    str,
    typer.Option("--instance", help="This member's lasting name: killed and started again, it goes on at once."),
]
AcceptLossOption = Annotated[
    bool,
    typer.Option(
        "--accept-loss",
        help="Go on although documents were deleted unread, the offset was moved, or what was exported is gone. For one"
        " start: what is lost by it is written down for good, and `audit` names it.",
    ),
]
