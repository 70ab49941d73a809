"""Ports that stay ours although nobody listens there for a while."""

import random
import socket
from pathlib import Path
from typing import Final

FIRST: Final = 10_000


def lasting_port() -> int:
    """One outside of the range that Linux takes for outgoing connections: a client that calls again and again at a port
    of that range, while its server is away, is given the very port one time in 28,000 and then talks to itself."""
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randrange(FIRST, first_outgoing) if first_outgoing > FIRST else 0))
            except OSError:
                continue
            return int(probe.getsockname()[1])


def held_port() -> socket.socket:
    """Any free port, bound and not listening: nobody else gets it while the socket is open, and no outgoing
    connection is given it. Who binds with SO_REUSEPORT may listen there."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    return held
