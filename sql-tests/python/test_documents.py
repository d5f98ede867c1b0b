"""What docs/clients.md says runs as it stands, and prints what the text says."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from shared import ROOT, server

DOCUMENT = ROOT / "docs" / "clients.md"
# A block of output belongs to the block before it only if nothing stands between them.
EXAMPLES = re.compile(r"^```(sh|python)\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


def examples():
    """Blocks in their order: how they are run, their text, what they print, their line."""
    text = DOCUMENT.read_text()

    def line(found):
        return text.count("\n", 0, found.start()) + 1

    return [pytest.param(found[1], found[2], found[3], id=f"{found[1]}, line {line(found)}")
            for found in EXAMPLES.finditer(text)]


@pytest.fixture(scope="module")
def running():
    """One server for the whole document: its examples build on each other."""
    with server() as running:
        yield running


def run(kind, text, server, folder):
    text = text.replace("127.0.0.1:50051", server.flight_address).replace("127.0.0.1:8086", server.http_address)
    binary = pathlib.Path(os.environ["QUORATE_BINARY"]).resolve()
    (folder / "quorate").symlink_to(binary)
    environment = {**os.environ, "QUORATE_ADDR": server.flight, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    # A shell that stops at the first command that fails, as a reader would.
    command = ["bash", "-e", "-o", "pipefail", "-c", text] if kind == "sh" else [sys.executable, "-c", text]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("kind, text, printed", examples())
def test_an_example_does_what_the_document_says(kind, text, printed, running, tmp_path):
    done = run(kind, text, running, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (printed or "")
    if kind == "python":
        assert done.stderr == ""


def test_every_client_of_the_first_table_has_a_section():
    text = DOCUMENT.read_text()
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
               for title in re.findall(r"^##+ (.*)$", text, re.MULTILINE)}
    linked = set(re.findall(r"\]\(#([^)]*)\)", text))
    assert linked <= anchors


def test_every_section_of_a_python_client_has_an_example():
    sections = re.split(r"^## ", DOCUMENT.read_text(), flags=re.MULTILINE)[1:]
    named = [section for section in sections if re.match(r"Python|influxdb3|curl|quorate sql", section)]
    assert len(named) == 6
    assert all(EXAMPLES.search(section) for section in named)


def test_versions_in_the_text_are_those_of_the_tests():
    pinned = dict(line.split("==") for line in (ROOT / "sql-tests/python/requirements.txt").read_text().split())
    text = DOCUMENT.read_text()

    def stated(pattern):
        return re.search(pattern, text, re.DOTALL)[1]

    for package, pattern in [
        ("adbc-driver-flightsql", r"`pip install adbc-driver-flightsql pyarrow`\. Tested with version ([\d.]+\d)"),
        ("influxdb3-python", r"`pip install influxdb3-python`, tested with version ([\d.]+\d)"),
        ("pandas", r"Tested with pandas ([\d.]+\d)"), ("polars", r"and polars ([\d.]+\d)"),
        ("influxdb-client", r"`influxdb-client` ([\d.]+\d)"), ("influxdb", r"`influxdb` ([\d.]+\d)"),
    ]:
        assert pinned[package].rpartition(".")[0] == stated(pattern), package
