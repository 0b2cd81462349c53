"""The README cannot rot: its commands and code are run, its links and tests are there."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lossbench import errors
from lossbench.cli.compare import SOME_FAILED
from lossbench.cli.main import run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SKIPPED = re.compile(r"<!-- not run: .+ -->\n\Z")
REST = "..."  # in an output: whatever follows


@dataclass(frozen=True)
class Block:
    """A fenced block of the README: its language, its text, and whether it is to be run."""

    language: str
    text: str
    runs: bool


def blocks() -> Iterator[Block]:
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE):
        yield Block(found[1], found[2], SKIPPED.search(README[: found.start()]) is None)


def table_below(title: str) -> list[list[str]]:
    """The rows of the table in a section, without its head."""
    section = README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def type_in(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a line of a shell and return what it prints; lossbench itself runs in this process."""
    if not line.startswith("lossbench "):
        done = subprocess.run(["bash", "-ec", line], check=True, capture_output=True, text=True)
        return done.stdout
    words = []
    for word in shlex.split(line)[1:]:
        matches = sorted(str(path) for path in Path().glob(word)) if "*" in word else []
        words += matches or [word]
    capsys.readouterr()
    code = run(words)
    captured = capsys.readouterr()
    assert code in (0, 2), f"{line}\n{captured.err}"
    assert code == 0 or captured.err.startswith("error: "), f"{line}\n{captured.err}"
    return captured.out + captured.err


def test_commands_and_code_work_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    seen = set()
    for block in blocks():
        if not block.runs:
            continue
        seen.add(block.language)
        match block.language:
            case "bash":
                for line in block.text.splitlines():
                    output = type_in(line, capsys)
                    assert not output.startswith("error: "), f"{line}\n{output}"
            case "console":
                line, _, expected = block.text.partition("\n")
                output = type_in(line.removeprefix("$ "), capsys)
                if expected.endswith(f"{REST}\n"):
                    assert output.startswith(expected.removesuffix(f"{REST}\n")), output
                else:
                    assert output == expected
            case "python" if name := re.match(r"# (\w+\.py)\n", block.text):
                Path(name[1]).write_text(block.text, encoding="utf-8")
            case "python":
                exec(compile(block.text, "README.md", "exec"), {})
            case other:
                pytest.fail(f"nobody runs {other}")
    assert seen == {"bash", "console", "python"}
    assert Path("cubic.png").stat().st_size > 10_000
    assert_files_of_a_run(tmp_path / "runs")


def assert_files_of_a_run(runs: Path) -> None:
    """Hold the table of files against a run with a file of its own: nothing more, nothing less."""
    listed = {
        name
        for row in table_below("The run directory")
        for name in re.findall(r"`([^`]+)`", row[0])
    }
    directory = next((runs / "custom-loss").iterdir())
    found = {path.name + "/" * path.is_dir() for path in directory.iterdir()}
    found = found - {"checkpoints/"} | {"checkpoints/last.pt"}
    assert listed == found
    assert (directory / "checkpoints" / "last.pt").is_file()


def test_the_installation_is_that_of_the_continuous_integration() -> None:
    """What `.ci/run` installs and runs is what the README tells to type."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    installs = "\n".join(block.text for block in blocks() if not block.runs)
    assert '".[test]"' in script
    assert 'pip install ".[test]"' in installs
    tests = "OMP_NUM_THREADS=1 python -m pytest -n 2"
    assert tests in script
    assert tests in installs
    assert "lossbench train configs/digits.yaml" in installs


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    for target in targets:
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_the_tests_that_it_names_are_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?", README)
    assert len(named) > 10
    for file, function in named:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not function or f"def {function}(" in text, f"{file}::{function}"


def test_every_picture_is_small_and_its_command_is_named() -> None:
    for picture in (ROOT / "configs" / "pictures").iterdir():
        assert picture.read_bytes().startswith((b"\x89PNG", b"<?xml"))
        assert picture.stat().st_size < 300_000
        assert f"-o configs/pictures/{picture.name}`" in README


def test_the_exit_codes_are_those_of_the_errors() -> None:
    family = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in family if issubclass(kind, errors.LossbenchError)}
    listed = {int(code) for row in table_below("Exit codes") for code in row[0].split(",")}
    assert listed == codes | {0, SOME_FAILED, 128 + 2, 128 + 15}
