"""How to reach a broker: the arguments every aiokafka client of ours is made with."""

import asyncio
import ipaddress
import os
from collections.abc import Mapping
from ssl import SSLContext
from typing import Any, Final

from aiokafka.errors import NodeNotReadyError
from aiokafka.helpers import create_ssl_context

from mira_stream.errors import ConfigError
from mira_stream.kafka.failures import unreachable
from mira_stream.sections import BrokerSection

REACH_S: Final = 8.0
DEFAULT_PORT: Final = 9092


class Connection:
    """Address, security and patience. Raises ConfigError for a CA file, a client certificate or a password
    that is not there, and for a password that would go to another machine without encryption."""

    def __init__(
        self, settings: BrokerSection, bootstrap_servers: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.settings = settings
        self.timeout_s = settings.request_timeout_ms / 1000
        _refuse_plaintext(settings, bootstrap_servers)
        self._security = _security(settings, os.environ if environment is None else environment)

    def __repr__(self) -> str:
        return f"<Connection {self.bootstrap_servers} {self.settings.security_protocol}>"

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments common to aiokafka's producer, consumer and admin client."""
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": "mira-stream",
            "request_timeout_ms": self.settings.request_timeout_ms,
            "retry_backoff_ms": 50,
            "metadata_max_age_ms": 15_000,  # a topic deleted, made anew or widened is noticed within it
            **self._security,
        }

    async def reach(self) -> None:
        """Open and close a connection to one of the servers. Raises DependencyError in seconds if none answers:
        aiokafka itself would try on and on."""
        problems: list[str] = []
        for server in self.bootstrap_servers.split(","):
            host, port = _host_port(server)
            try:
                async with asyncio.timeout(REACH_S):
                    _, writer = await asyncio.open_connection(host, int(port) if port else DEFAULT_PORT)
            except ValueError:
                raise ConfigError(
                    "bootstrap_servers", f"{server!r} is no host:port", "write host:port, several with commas"
                ) from None
            except (OSError, TimeoutError) as error:
                problems.append(f"{server}: {error or 'no answer'}")
                continue
            writer.close()
            return
        raise unreachable("; ".join(problems))


def await_brokers(client: Any) -> None:
    """Make an aiokafka client wait for a broker where it would trip over an assertion: one that has fenced itself
    answers the first question with an empty list of brokers, and the task that asks for a coordinator would end."""
    lookup = client.coordinator_lookup

    async def coordinator_lookup(kind: Any, key: str) -> Any:
        if client.get_random_node() is None:
            raise NodeNotReadyError("the cluster names no broker")
        return await lookup(kind, key)

    client.coordinator_lookup = coordinator_lookup


def _host_port(server: str) -> tuple[str, str]:
    """Of `host:port`, `[::1]:port` or a host alone; the port is empty then."""
    host, _, port = server.strip().rpartition(":")
    return (host or port).strip("[]"), port if host else ""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or address alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _refuse_plaintext(settings: BrokerSection, bootstrap_servers: str) -> None:
    """Raises ConfigError(password_unencrypted)."""
    hosts = [_host_port(server)[0] for server in bootstrap_servers.split(",")]
    remote = [host for host in hosts if not is_loopback(host)]
    if settings.security_protocol == "SASL_PLAINTEXT" and remote:
        raise ConfigError(
            "password_unencrypted",
            f"SASL_PLAINTEXT would log in to {remote[0]} over a connection that anybody on the way can read",
            'set [broker] security_protocol = "SASL_SSL" and, for a CA of your own, ssl_cafile',
        )


def _tls(settings: BrokerSection) -> SSLContext:
    try:
        context: SSLContext = create_ssl_context(cafile=settings.ssl_cafile or None)
    except OSError as error:
        raise ConfigError("ssl_cafile", f"{settings.ssl_cafile}: {error}", "correct [broker] ssl_cafile") from error
    certificate, key = settings.ssl_certfile, settings.ssl_keyfile
    if bool(certificate) != bool(key):
        raise ConfigError(
            "ssl_certfile",
            "a client certificate and its key come together",
            "set [broker] ssl_certfile and ssl_keyfile",
        )
    if certificate:
        try:  # an empty passphrase: a key that wants one is refused, nobody is asked at a terminal
            context.load_cert_chain(certificate, key, password="")
        except OSError as error:
            raise ConfigError(
                "ssl_certfile",
                f"{certificate}, {key}: {error}",
                "give PEM files that belong together, without a passphrase",
            ) from error
    return context


def _security(settings: BrokerSection, environment: Mapping[str, str]) -> dict[str, Any]:
    protocol = settings.security_protocol
    arguments: dict[str, Any] = {"security_protocol": protocol}
    if protocol.endswith("SSL"):
        arguments["ssl_context"] = _tls(settings)
    if protocol.startswith("SASL"):
        password = environment.get(settings.sasl_password_env)
        if not settings.sasl_username or password is None:
            raise ConfigError(
                "sasl_credentials",
                f"{protocol} needs a user name and a password",
                f"set [broker] sasl_username and the environment variable {settings.sasl_password_env}",
            )
        arguments |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": password,
        }
    return arguments
