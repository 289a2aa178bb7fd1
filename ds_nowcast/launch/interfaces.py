"""Which network interface reaches another host: what gloo must use, and does not find by itself."""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple

import psutil


class Interface(NamedTuple):
    """A network interface of this host, and the address of it that is used."""

    name: str
    address: str

    @property
    def loopback(self) -> bool:
        """Whether it reaches this host alone."""
        return ipaddress.ip_address(self.address).is_loopback


def interface_to(host: str) -> Interface | None:
    """The interface whose address this host shows to `host`, a name or an address; of itself, that of the address.

    None where the address belongs to no interface that can be seen. Raises OSError where there is no way to `host`.
    """
    family, kind, _, _, place = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(place)  # of a datagram socket: sends nothing, chooses a route
        mine = str(probe.getsockname()[0]).split("%")[0]
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address.split("%")[0] == mine for address in addresses):
            return Interface(name, mine)
    return None
