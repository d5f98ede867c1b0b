"""`/openapi.json` is true: schemathesis makes requests from it, right and wrong ones, and looks at the answers."""

import subprocess
import sys

import pytest

from shared import ROOT, http, server

SEED = 20260101
CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
          "response_schema_conformance", "negative_data_rejection", "missing_required_header", "unsupported_method",
          "allow_header_conformance"]


@pytest.fixture(scope="module")
def running():
    """A server of its own: what is made up may write and drop anything."""
    with server() as running:
        yield running


def test_the_document_is_served_with_the_version_of_the_node(running):
    answer = http("GET", "/openapi.json", url=running.http)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json["openapi"].startswith("3.1.")
    assert answer.json["info"]["version"] == http("GET", "/health", url=running.http).json["version"]


def test_the_answers_are_those_of_the_document(running, tmp_path):
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", ROOT / "sql-tests/python/schemathesis.toml",
               "run", running.http + "/openapi.json", "--seed", str(SEED), "--max-examples", "20",
               "--generation-database", "none", "--phases", "examples,coverage,fuzzing", "--workers", "1",
               "--checks", ",".join(CHECKS), "--continue-on-failure", "--no-color"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"seed {SEED}\n{done.stdout}\n{done.stderr}"
    # All but that of the document itself, which the run is made from.
    operations = sum(len(methods) for methods in http("GET", "/openapi.json", url=running.http).json["paths"].values())
    assert f"Tested: {operations - 1}" in done.stdout, done.stdout
