"""The interface that reaches a host, on this machine's own ones."""

from __future__ import annotations

import socket

import psutil
import pytest

from ds_nowcast.launch.interfaces import interface_to


def test_this_host_is_reached_by_loopback() -> None:
    interface = interface_to("127.0.0.1")
    assert interface is not None
    assert (interface.address, interface.loopback) == ("127.0.0.1", True)
    assert interface.name in dict(socket.if_nameindex()).values()


def test_an_address_of_ours_is_reached_by_the_interface_that_has_it() -> None:
    for name, addresses in psutil.net_if_addrs().items():
        for address in addresses:
            if address.family == socket.AF_INET:
                interface = interface_to(address.address)
                assert interface is not None
                assert (interface.name, interface.address) == (name, address.address)


def test_a_host_that_there_is_no_way_to_is_an_error() -> None:
    with pytest.raises(OSError, match=r"[Nn]ame|resolution"):
        interface_to("nowhere.invalid")
