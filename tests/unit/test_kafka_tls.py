"""Mutual TLS: the client shows its certificate where a broker asks for one, by real handshakes on this machine."""

import asyncio
import ssl
from pathlib import Path

import pytest

from mira_stream.errors import ConfigError
from mira_stream.kafka.connection import Connection
from mira_stream.sections import BrokerSection
from tests.machine import need, run


def certificate(folder: Path, name: str, *more: str) -> tuple[Path, Path]:
    """Signed by itself, for 127.0.0.1, with its key."""
    made, key = folder / f"{name}.crt", folder / f"{name}.key"
    done = run(
        need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2",
        "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-out", str(made), "-keyout", str(key),
        *(more or ("-nodes",)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return made, key


async def heard(settings: BrokerSection, server: ssl.SSLContext) -> bytes:
    """What a server that asks for a certificate says to this client; nothing if it hangs up."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=server) as listening:
        port = listening.sockets[0].getsockname()[1]
        context = Connection(settings, f"127.0.0.1:{port}", {}).arguments()["ssl_context"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        try:
            return await reader.read()
        except (ssl.SSLError, ConnectionError):
            return b""
        finally:
            writer.close()


async def test_a_broker_that_asks_for_a_certificate_is_shown_one(tmp_path: Path) -> None:
    broker, broker_key = certificate(tmp_path, "broker")
    client, client_key = certificate(tmp_path, "client")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(broker, broker_key)
    server.load_verify_locations(client)
    server.verify_mode = ssl.CERT_REQUIRED
    plain = BrokerSection(security_protocol="SSL", ssl_cafile=str(broker))
    assert await heard(plain, server) == b""
    own = BrokerSection(
        security_protocol="SSL", ssl_cafile=str(broker), ssl_certfile=str(client), ssl_keyfile=str(client_key)
    )
    assert await heard(own, server) == b"welcome"


def test_a_certificate_and_its_key_belong_together(tmp_path: Path) -> None:
    one, key = certificate(tmp_path, "one")
    other = certificate(tmp_path, "other")[1]
    locked = certificate(tmp_path, "locked", "-passout", "pass:secret")
    for certfile, keyfile in (
        (str(one), ""),
        ("", str(key)),
        (str(one), str(other)),
        (str(one), str(tmp_path / "nowhere")),
        (str(locked[0]), str(locked[1])),
    ):
        with pytest.raises(ConfigError, match="ssl_certfile"):
            Connection(
                BrokerSection(security_protocol="SSL", ssl_certfile=certfile, ssl_keyfile=keyfile), "127.0.0.1:1", {}
            )
