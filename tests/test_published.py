"""Numbers that others have published, held against the catalogue through `check --cases`.

published/*.json holds them in the format of the command, spelled as people spell them: each `id`
names the test, the page or the row that it comes from. Numbers are facts: where a convention
differs (CATALOG.md, section 7), the id says how it was turned into ours.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from lossbench.cli.main import run
from lossbench.evaluate.cases import KINDS, read_cases, run_case

PUBLISHED = sorted((Path(__file__).parent / "published").glob("*.json"))
RECORDS = [
    pytest.param(record, id=f"{file.stem}: {record['id']}")
    for file in PUBLISHED
    for record in read_cases(file)
]


@pytest.mark.parametrize("record", RECORDS)
def test_published_number(record: dict[str, Any]):
    outcome = run_case(1, record)
    assert outcome.verdict == "passed", outcome.words


def test_every_kind_is_held():
    kinds = {record.values[0]["kind"] for record in RECORDS}
    assert kinds >= set(KINDS) - {"schedule"}
    assert kinds & {"schedule", "scheduler"}


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.stem)
def test_the_command_says_the_same(file: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["check", "--cases", str(file), "--strict", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] == len(read_cases(file))
