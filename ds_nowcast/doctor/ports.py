"""Whether hosts reach each other: a probe listens, and another one connects and compares a secret word."""

from __future__ import annotations

import errno
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psutil

from data_prep.errors import UserError
from ds_nowcast.doctor.protocol import Listening, Outcomes, Way
from ds_nowcast.launch.interfaces import interface_to

REACH_S = 5.0
_AT_ONCE = 32


def interfaces() -> list[str]:
    """Names of this host's."""
    return list(psutil.net_if_addrs())


def addresses() -> list[str]:
    """Of this host, without loopback; IPv4 first, in the order of the interfaces."""
    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = [
        (address.family != socket.AF_INET, address.address)
        for name, its in psutil.net_if_addrs().items()
        if name in up
        for address in its
        if address.family in (socket.AF_INET, socket.AF_INET6)
        and not address.address.startswith(("127.", "::1", "fe80:", "169.254."))
    ]
    return [address for _, address in sorted(found, key=lambda pair: pair[0])]


def meanings(name: str) -> list[str]:
    """Addresses that a name has here."""
    with suppress(OSError, UnicodeError):
        return list(dict.fromkeys(str(place[4][0]) for place in socket.getaddrinfo(name, None)))
    return []


def way(master: str) -> Way:
    """The interface that reaches the master. Raises UserError where there is no way."""
    try:
        interface = interface_to(master)
    except OSError as error:
        raise UserError(f"there is no way to the master address {master} from here ({error.strerror})") from None
    return Way(interface.name, interface.address, interface.loopback) if interface else Way("", "", False)


def listen(port: int, word: str) -> Listening:
    """Takes a port, 0 for any, on all addresses, and says `word` to whoever connects. Raises UserError where it is taken."""
    try:
        server = _server(port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} is in use{_by_whom(port)}") from None
        raise UserError(f"port {port} cannot be used ({error.strerror})") from None
    threading.Thread(target=_greet, args=(server, word.encode()), daemon=True).start()
    return Listening(server.getsockname()[1])


def _server(port: int) -> socket.socket:
    """Of IPv6 and IPv4, or where this host has no IPv6, of IPv4. Raises OSError."""
    try:
        return socket.create_server(("", port), family=socket.AF_INET6, backlog=1024, dualstack_ipv6=True)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise
        return socket.create_server(("", port), backlog=1024)
    except ValueError:  # what python says where it is built without
        return socket.create_server(("", port), backlog=1024)


def _greet(server: socket.socket, word: bytes) -> None:
    while True:
        with suppress(OSError):
            visitor, _ = server.accept()
            threading.Thread(target=_say, args=(visitor, word), daemon=True).start()


def _say(visitor: socket.socket, word: bytes) -> None:
    """The visitor hangs up first: else the port would stay blocked for a while after us."""
    with suppress(OSError), visitor:
        visitor.settimeout(REACH_S)
        visitor.sendall(word + b"\n")
        visitor.recv(1)


def _by_whom(port: int) -> str:
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                process = psutil.Process(connection.pid)
                words = " ".join(process.cmdline())[:60]
                return f" by process {connection.pid} of {process.username()} ({words or process.name()})"
    return " by a process that this user may not see"


def reach(targets: list[dict[str, Any]]) -> Outcomes:
    """Tries to connect to each {"address", "port", "word"}."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return Outcomes(list(pool.map(_reached, targets)))


def _reached(target: dict[str, Any]) -> str:
    try:
        with socket.create_connection((target["address"], target["port"]), timeout=REACH_S) as connection:
            heard = connection.makefile("rb").readline(1024)
    except TimeoutError:
        return f"no answer within {REACH_S:.0f} s"
    except OSError as error:
        return error.strerror or os.strerror(error.errno or 0)
    return "" if heard == target["word"].encode() + b"\n" else "something else answers"
