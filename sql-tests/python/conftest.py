"""Starts one server for all tests of this folder; they find it in QUORATE_FLIGHT_URI and QUORATE_HTTP_URL."""

import itertools
import os

import pytest

_state = {}
_numbers = itertools.count()


def pytest_configure(config):
    if "QUORATE_FLIGHT_URI" in os.environ:
        return
    # Imported here and not above: it reads the two addresses when it is imported.
    import shared
    server = shared.Server()
    _state["server"] = server
    os.environ["QUORATE_FLIGHT_URI"] = shared.FLIGHT = server.flight
    os.environ["QUORATE_HTTP_URL"] = shared.HTTP = server.http


def pytest_unconfigure(config):
    server = _state.pop("server", None)
    if server is not None:
        server.stop()


@pytest.fixture
def table():
    """A name that no other test uses."""
    return f"t{os.getpid()}_{next(_numbers)}"


@pytest.fixture
def connection():
    import shared
    with shared.connect() as connection:
        yield connection


@pytest.fixture
def cursor(connection):
    with connection.cursor() as cursor:
        yield cursor
