"""What all tests share: where real radar files lie, several hosts, and a browser."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

from tests.browser import Page, browser
from tests.hosts import Hosts
from tests.namespaces import missing

settings.register_profile("busy machine", deadline=None)  # a time limit would test the machine
settings.load_profile("busy machine")


signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and its children


@pytest.fixture(scope="session")
def radar_data() -> Path:
    """The folder of real radar files named by NOWCAST_RADAR_DATA; skips without it, fails if NOWCAST_REQUIRE_DATA=1."""
    folder = os.environ.get("NOWCAST_RADAR_DATA", "")
    if folder and Path(folder).is_dir():
        return Path(folder)
    message = "set NOWCAST_RADAR_DATA to a folder of real radar files"
    if os.environ.get("NOWCAST_REQUIRE_DATA") == "1":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def make_hosts() -> Iterator[Callable[..., Hosts]]:
    """Makes hosts, see `tests.hosts.Hosts`; skips where that cannot be, fails if NOWCAST_REQUIRE_HOSTS=1."""
    if lacking := missing():
        message = f"no hosts can be made here: {'; '.join(lacking)}"
        if os.environ.get("NOWCAST_REQUIRE_HOSTS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    with ExitStack() as stack:
        yield lambda number, **options: stack.enter_context(Hosts(number, **options))


@pytest.fixture
def two_hosts(make_hosts: Callable[..., Hosts]) -> Iterator[Hosts]:
    """With one slot each."""
    with make_hosts(2) as hosts:
        yield hosts


@pytest.fixture
def four_hosts(make_hosts: Callable[..., Hosts]) -> Iterator[Hosts]:
    """With four slots each."""
    with make_hosts(4, slots=4) as hosts:
        yield hosts


@pytest.fixture
def browser_page() -> Iterator[Page]:
    """A tab of a headless Chromium; skips where none is installed, fails if NOWCAST_REQUIRE_BROWSER=1."""
    program = browser()
    if program is None:
        message = "no browser; install chromium (Debian: apt-get install --no-install-recommends chromium)"
        if os.environ.get("NOWCAST_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    with Page(program) as page:
        yield page
