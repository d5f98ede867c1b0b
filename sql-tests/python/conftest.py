"""Starts one server for all tests of this folder; they find it in QUORATE_FLIGHT_URI and QUORATE_HTTP_URL."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

_state = {}


def _wait_until_ready(process, directory):
    addresses = pathlib.Path(directory) / "addresses.json"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended while it was starting: {process.returncode}")
        try:
            found = json.loads(addresses.read_text())
            urllib.request.urlopen(f"http://{found['http']}/ready").close()
            return found
        except (FileNotFoundError, json.JSONDecodeError, urllib.error.URLError):
            time.sleep(0.01)
    raise RuntimeError("the server is not ready after a minute")


def pytest_configure(config):
    if "QUORATE_FLIGHT_URI" in os.environ:
        return
    directory = tempfile.mkdtemp(prefix="quorate-python-")
    command = [os.environ["QUORATE_BINARY"], "serve", "--data-dir", directory,
               "--flight-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _state.update(process=process, directory=directory)
    found = _wait_until_ready(process, directory)
    os.environ["QUORATE_FLIGHT_URI"] = f"grpc://{found['flight']}"
    os.environ["QUORATE_HTTP_URL"] = f"http://{found['http']}"


def pytest_unconfigure(config):
    process = _state.pop("process", None)
    if process is None:
        return
    process.terminate()
    status = process.wait(timeout=30)
    shutil.rmtree(_state.pop("directory"), ignore_errors=True)
    if status != 0:
        raise RuntimeError(f"the server stopped with status {status}")
