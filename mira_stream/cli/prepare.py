"""`mira-stream prepare`: what must be in a Kafka before services start that are run one by one."""

from pathlib import Path

import typer

from mira_stream.cli.options import BootstrapOption, JsonOption, ProjectOption


def prepare(
    project: ProjectOption = Path(),
    bootstrap_servers: BootstrapOption = None,
    json: JsonOption = False,
) -> None:
    """Create the project's topics and publish its policy and masks, as `up` does before it starts the services.

    For services that run one by one, in containers or on several machines. Does nothing twice, and undoes nothing that
    was set by command.
    """
    from mira_stream.cli.connect import with_broker
    from mira_stream.cli.output import emit, talk
    from mira_stream.demo.prepare import prepare as prepared

    warnings = with_broker(project, bootstrap_servers, lambda loaded, broker: prepared(broker, loaded))
    for warning in warnings:
        talk.print(f"warning: {warning}", markup=False, soft_wrap=True)
    if json:
        emit({"prepared": True, "warnings": warnings})
    else:
        typer.echo("topics and policy are there")
