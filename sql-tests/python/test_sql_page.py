"""The statements of docs/sql.md run as they stand, one after the other, in one session of a fresh node."""

import os
import re
import subprocess

from shared import ROOT, server

DOCUMENT = ROOT / "docs" / "sql.md"
STATEMENTS = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_blocks_of_the_page_are_closed():
    fences = re.findall(r"^```(\w*)$", DOCUMENT.read_text(), re.MULTILINE)
    assert all((language == "") == (number % 2 == 1) for number, language in enumerate(fences)), fences


def test_statements_run_one_after_the_other(tmp_path):
    blocks = STATEMENTS.findall(DOCUMENT.read_text())
    assert len(blocks) > 20
    script = tmp_path / "page.sql"
    script.write_text("\n".join(blocks))
    files = tmp_path / "files"
    files.mkdir()
    with server("--file-dir", str(files)) as running:
        command = [os.environ["QUORATE_BINARY"], "sql", "--addr", running.flight, "-f", str(script)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
