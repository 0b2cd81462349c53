"""`compare` and what goes with it, from outside: streams, files, exit codes, interrupts."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossbench.cli.compare import exit_code
from lossbench.cli.main import run
from lossbench.rundir.comparison import ComparisonDirectory
from lossbench.rundir.runs import load

RUN = """\
name: demo
dataset: {name: cubic, samples: 60}
network: {name: mlp, hidden: [4]}
loss: mse
optimizer: {name: adam, lr: 0.01}
train: {epochs: 2, batch_size: 20, seed: 1, device: cpu}
"""

COMPARISON = """\
extends: demo.yaml
name: two
vary:
  optimizer:
    SGD: {name: sgd, lr: 0.001}
    Adam: {name: adam, lr: 0.1}
seeds: 6
target: {train/loss: 0.5}
claims:
  - Adam below SGD on train/loss at the end
"""

SURFACE = """\
name: walk
dataset: {name: surface, function: booth, start: [0, 0]}
loss: value
optimizer: {name: sgd, lr: 0.01}
train: {epochs: 20, device: cpu}
metrics: [distance, first_coordinate, second_coordinate]
vary: {optimizer.lr: [0.01, 0.02]}
seeds: 2
"""

PROGRAM = [sys.executable, "-m", "lossbench"]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as one strict JSON document."""

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        return json.loads(self.out, parse_constant=refuse)


Call = Callable[..., Result]


def write_configs(folder: Path) -> None:
    (folder / "demo.yaml").write_text(RUN)
    (folder / "two.yaml").write_text(COMPARISON)
    (folder / "walk.yaml").write_text(SURFACE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with configs and, in runs/, one finished comparison and one finished run."""
    folder = tmp_path_factory.mktemp("compared")
    write_configs(folder)
    for words in (["compare", "two.yaml"], ["train", "demo.yaml"]):
        arguments = [words[0], str(folder / words[1]), "-q", "--runs-dir", str(folder / "runs")]
        assert run(arguments) == 0
    return folder


@pytest.fixture
def call(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Call:
    """Run a command line in a folder of its own, with configs and the finished comparison."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr(sys, "argv", ["lossbench"])
    write_configs(tmp_path)
    (tmp_path / "done").symlink_to(folder / "runs")

    def invoke(*arguments: str | Path) -> Result:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return invoke


def comparison_in(runs: Path, name: str = "two") -> ComparisonDirectory:
    (path,) = [path for path in (runs / name).iterdir() if "-c" in path.name]
    return ComparisonDirectory(path)


@pytest.fixture
def finished(folder: Path) -> ComparisonDirectory:
    return comparison_in(folder / "runs")


# --- compare ----------------------------------------------------------------------------------


def test_compare_says_first_what_it_will_do_and_last_who_stands_where(call: Call) -> None:
    result = call("compare", "two.yaml", "--strict")
    assert result.code == 0
    directory = comparison_in(Path("runs"))
    lines = result.err.splitlines()
    assert lines[0].startswith(
        "two: 2 contenders x 6 seeds = 12 trials; in 1 fused group, a few seconds"
    )
    assert any(line.startswith("12/12 trials") for line in lines)
    assert f"lossbench train --from {directory.id}:0" in result.err
    header, first, second = result.out.splitlines()[1:4]
    assert header.split()[:3] == ["contender", "rank", "n"]
    assert "steps to train/loss 0.5" in header
    assert (first.split()[:3], second.split()[:3]) == (["Adam", "1", "6"], ["SGD", "2", "6"])
    assert "supported: Adam ends lower than SGD on 6 of 6 seeds" in result.out
    assert str(directory.path) in result.out
    pictures = {path.name for path in directory.plots.iterdir()}
    names = ("curves", "curves-epochs", "curves-seconds", "finals")
    assert pictures == {f"{name}.{ending}" for name in names for ending in ("png", "svg")}


def test_a_run_config_with_vary_is_a_comparison_and_json_is_one_document(call: Call) -> None:
    result = call(
        "compare", "demo.yaml", "train.epochs=1", "--vary", "optimizer=sgd,adam",
        "--seeds", "2", "--name", "given", "--tune", "optimizer.lr=1e-3:1e-1", "--json",
    )  # fmt: skip
    assert result.code == 0, result
    document = result.document
    assert document["name"] == "given"
    assert (document["trials"], document["failures"]) == (4, 0)
    assert document["summary"]["contenders"] == ["sgd", "adam"]
    assert {found["contender"] for found in document["summary"]["tuned"]} == {"sgd", "adam"}
    assert any(str(path).endswith("sensitivity.svg") for path in document["plots"])
    assert Path(document["comparison"]).is_dir()
    last = call("train", "--from", "latest:0", "--dry-run", "--json").document
    assert last["name"] == "given"


def test_a_dry_run_prints_the_plan_and_writes_nothing(call: Call) -> None:
    before = sorted(Path().iterdir())
    result = call("compare", "two.yaml", "--dry-run")
    assert result.code == 0
    assert "12 trials" in result.out
    assert "fused" in result.out
    document = call("compare", "two.yaml", "--dry-run", "--json", "--workers", "2").document
    assert (document["trials"], document["seeds"], document["groups"]) == (12, 6, 1)
    assert sorted(Path().iterdir()) == before


def test_names_with_commas_are_quoted_in_a_list(call: Call) -> None:
    axes = ["--vary", "activation=relu,tanh", "--vary", "optimizer=sgd,adam"]
    result = call("compare", "demo.yaml", *axes, "--dry-run")
    assert 'contenders  "relu, sgd", "relu, adam", "tanh, sgd", "tanh, adam"' in result.out


def test_a_single_contender_is_trained_with_a_warning(call: Call) -> None:
    said = "there is only one contender: it is trained and described, not compared"
    axis = ["--vary", "optimizer=sgd", "--seeds", "2"]
    planned = call("compare", "demo.yaml", *axis, "--dry-run", "--json").document
    assert planned["warnings"] == [said]
    result = call("compare", "demo.yaml", *axis)
    assert result.code == 0
    assert said in result.err
    assert call("compare", "two.yaml", "--dry-run", "--json").document["warnings"] == []


def test_a_strict_resume_without_claims_leaves_the_comparison_as_it_is(call: Call) -> None:
    assert call("compare", "two.yaml", "claims=null", "-q").code == 0
    record = comparison_in(Path("runs")).record
    record.write_text(record.read_text().replace('"status": "done"', '"status": "interrupted"'))
    before = record.read_text()
    result = call("compare", "--resume", "latest", "--strict")
    assert (result.code, record.read_text()) == (2, before)
    assert "nothing to be strict about" in result.err


def test_quiet_prints_the_path_only(call: Call) -> None:
    result = call("compare", "two.yaml", "-q", "--seeds", "1", "claims=[]")
    assert (result.code, result.err) == (0, "")
    assert result.out.strip() == str(comparison_in(Path("runs")).path)


# --- exit codes -------------------------------------------------------------------------------


def test_trials_that_diverge_are_counted_and_exit_with_3(call: Call) -> None:
    result = call("compare", "demo.yaml", "--vary", "optimizer.lr=0.01,1e30", "--seeds", "2",
                  "optimizer.name=sgd")  # fmt: skip
    assert result.code == 3
    assert "2 diverged (step" in result.out
    directory = comparison_in(Path("runs"), "demo")
    listed = call("runs", "--json").document["comparisons"]
    assert [found["status"] for found in listed] == ["done"]
    assert (directory.plots / "finals.png").exists()


def test_when_all_diverge_it_exits_with_1(call: Call) -> None:
    words = ["--vary", "optimizer.lr=1e29,1e30", "--seeds", "1", "optimizer.name=sgd", "--json"]
    result = call("compare", "demo.yaml", *words)
    assert result.code == 1
    assert result.document["failures"] == result.document["trials"] == 2


def test_strict_exits_with_1_when_a_claim_fails(call: Call) -> None:
    wrong = "claims=[SGD below Adam on train/loss at the end]"
    assert call("compare", "two.yaml", wrong, "-q", "--strict").code == 1
    assert len(list(Path("runs/two").iterdir())) == 1


@pytest.mark.parametrize(
    ("failures", "holds", "strict", "code"),
    [
        (0, True, True, 0),
        (0, False, False, 0),
        (0, False, True, 1),
        (1, True, True, 3),
        (1, False, True, 1),
        (4, True, False, 1),
    ],
)
def test_the_exit_code(failures: int, holds: bool, strict: bool, code: int) -> None:
    document = {"failures": failures, "trials": 4, "claims_hold": holds}
    assert exit_code(document, strict=strict) == code


WRONG = (
    (["compare"], "which comparison?"),
    (["compare", "latest"], "no config file"),
    (["compare", "demo.yaml"], "--vary"),
    (["compare", "demo.yaml", "sgd", "--vary", "optimizer=sgd,adam"], "no change to the config"),
    (["compare", "train.epochs=1"], "the config itself comes first"),
    (["compare", "two.yml"], "two.yaml"),
    (["compare", "demo.yaml", "--vary", "optimizr=sgd,adam"], "did you mean optimizer"),
    (["compare", "demo.yaml", "--vary", "optimizer=sgd,adm"], "did you mean adam"),
    (["compare", "demo.yaml", "--vary", "optimizer.lr="], "optimizer.lr"),
    (["compare", "two.yaml", "--seeds", "0"], "--seeds 0"),
    (["compare", "two.yaml", "--workers", "0"], "workers"),
    (["compare", "two.yaml", "claims=[Adm below SGD on train/loss]"], "did you mean Adam"),
    (["compare", "two.yaml", "--name", ""], "--name"),
    (["compare", "--resume", "nothing"], "nothing"),
    (["compare", "--resume", "nothing", "--workers", "1"], "there is no comparison 'nothing'"),
    (["compare", "two.yaml", "--resume", "latest"], "two.yaml"),
    (["compare", "--resume", "latest", "--seeds", "3"], "--seeds"),
    (["compare", "one", "two", "--vary", "optimizer=sgd,adam"], "--vary"),
    (["compare", "two.yaml", "--strict", "claims=null"], "nothing to be strict about"),
    (["compare", "done/two", "done/demo", "--strict"], "nothing to be strict about"),
    (["compare", "two.yaml", "vary={}"], "vary is empty"),
    (["train", "two.yaml"], "lossbench compare two.yaml"),
    (["train", "--from", "latest"], "latest:17"),
    (["train", "--from", "latest:0", "--resume", "latest"], "do not go together"),
    (["train", "--from", "latest:0", "demo.yaml"], "demo.yaml"),
    (["plot", "comparison", "nothing"], "nothing"),
)


@pytest.mark.parametrize(("words", "said"), WRONG, ids=lambda value: " ".join(value)[:60])
def test_wrong_usage_exits_with_2_says_why_and_writes_nothing(
    call: Call, words: list[str], said: str
) -> None:
    before = sorted(Path().iterdir())
    result = call(*words)
    assert result.code == 2, result
    assert said in result.err
    assert result.out == ""
    assert "error" in call(*words, "--json").document
    assert sorted(Path().iterdir()) == before


def test_validate_checks_a_comparison_with_its_claims(call: Call) -> None:
    result = call("validate", "two.yaml", "--json").document
    assert (result["valid"], result["trials"]) == (True, 12)
    assert call("validate", "two.yaml", "claims=[Adm below SGD on train/loss]").code == 2


# --- afterwards -------------------------------------------------------------------------------


def test_comparisons_stand_among_the_runs(call: Call, finished: ComparisonDirectory) -> None:
    document = call("runs", "ls", "--runs-dir", "done", "--json").document
    assert [found["id"] for found in document["comparisons"]] == [finished.id]
    assert document["comparisons"][0]["leader"] == "Adam"
    assert len(document["runs"]) == 1
    listed = call("runs", "ls", "--runs-dir", "done").out
    assert "Adam first of 2 on validation/loss" in listed
    assert document["runs"][0]["id"] in listed


def test_a_comparison_is_shown_with_its_table(call: Call, finished: ComparisonDirectory) -> None:
    shown = call("runs", "show", finished.id, "--runs-dir", "done")
    assert shown.code == 0
    assert "supported: Adam ends lower than SGD" in shown.out
    document = call("runs", "show", finished.id[-4:], "--runs-dir", "done", "--json").document
    assert document["summary"]["contenders"] == ["SGD", "Adam"]
    newest = call("runs", "show", "latest", "--runs-dir", "done", "--json").document
    assert newest["id"] != finished.id  # the run is younger


@pytest.mark.parametrize("width", [30, 60])
def test_the_table_fits_a_narrow_terminal(
    call: Call, finished: ComparisonDirectory, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    result = call("runs", "show", finished.id, "--runs-dir", "done")
    table = result.out[result.out.index("at the end") :]
    assert "Adam" in table
    lines = [line for line in result.out.splitlines() if "/" not in line]  # paths are not folded
    assert max(map(len, lines)) <= width


def test_a_comparison_is_exported(call: Call, finished: ComparisonDirectory) -> None:
    text = call("export", finished.id, "--runs-dir", "done").out
    assert text.splitlines() == finished.trials.read_text().splitlines()
    document = call("export", finished.id, "--runs-dir", "done", "--json").document
    assert len(document["trials"]) == 12
    assert document["trials"][0]["fused"] is True
    curves, _ = finished.read_curves()
    np.testing.assert_array_equal(
        document["curves"]["curve/train/loss"], curves["curve/train/loss"]
    )
    assert document["summary"]["contenders"] == ["SGD", "Adam"]


def test_removing_takes_comparisons_too_all_or_none(call: Call) -> None:
    call("compare", "two.yaml", "-q", "--seeds", "1", "claims=[]")
    directory = comparison_in(Path("runs"))
    assert call("runs", "rm", directory.id, "nothing").code == 2
    assert directory.path.exists()
    assert call("runs", "rm", directory.id, "--json").document == {"removed": [directory.id]}
    assert not directory.path.exists()


def test_a_picture_of_a_comparison(call: Call, finished: ComparisonDirectory) -> None:
    for words in (
        ["plot", "comparison", finished.id, "-o", "a.svg"],
        ["plot", "runs", finished.id, "-o", "b.png"],
        ["plot", "comparison", finished.id, "--picture", "finals", "-o", "c.pdf"],
        ["plot", "comparison", finished.id, "--metric", "train/loss", "-o", "d.png"],
    ):
        result = call(*words, "--runs-dir", "done", "--json")
        assert result.code == 0, result
        assert Path(words[-1]).stat().st_size > 1000
        assert result.document["written"] == words[-1]
    assert call("plot", "comparison", finished.id, "--metric", "train/loss", "-o", "d.png",
                "--runs-dir", "done", "--json").document["panels"] == 1  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["comparison", "--picture", "curvs"], "did you mean curves"),
        (["comparison", "--picture", "profiles"], "finals"),
        (["comparison", "--metric", "validation/los"], "did you mean validation/loss"),
        (["comparison", "-o", "x.gif"], "picture format"),
        (["paths"], "no landscape"),
    ],
)
def test_a_picture_that_cannot_be_is_refused(
    call: Call, finished: ComparisonDirectory, words: list[str], said: str
) -> None:
    result = call("plot", words[0], finished.id, *words[1:], "--runs-dir", "done")
    assert result.code == 2
    assert said in result.err


def test_paths_are_drawn_over_a_surface(call: Call) -> None:
    result = call("compare", "walk.yaml")
    assert result.code == 0, result
    assert "lossbench plot paths" in result.err
    drawn = call("plot", "paths", "latest", "-o", "paths.svg", "--json")
    assert drawn.document["panels"] == 1
    assert Path("paths.svg").stat().st_size > 10_000


def test_one_trial_trained_alone_has_the_same_curve(
    call: Call, finished: ComparisonDirectory
) -> None:
    curves, _ = finished.read_curves()
    for number in (0, 8):
        words = ["--runs-dir", "done", "--json"]
        result = call("train", "--from", f"{finished.id}:{number}", *words)
        assert result.code == 0, result
        alone = load(result.document["run"])
        row = finished.read_trials()[number]
        assert alone.config["train"]["seed"] == int(row["seed"])
        assert alone.config["optimizer"]["name"] == ("sgd" if number == 0 else "adam")
        recorded = np.asarray(alone.curve("train/loss")[1], dtype=np.float32)
        # A rate that differs within the group is a tensor there, and a number alone: one rounding.
        np.testing.assert_allclose(recorded, curves["curve/train/loss"][number], rtol=1e-6)
        assert (
            f"trial {number} of comparison {finished.id}"
            in (alone.path / "config.yaml").read_text()
        )
        call("runs", "rm", alone.path)


# --- interrupts -------------------------------------------------------------------------------


def test_an_interrupt_keeps_what_is_finished_and_the_resume_ends_with_the_same(
    call: Call, tmp_path: Path
) -> None:
    long = ["compare", "demo.yaml", "--vary", "network.hidden=[3],[4]", "--seeds", "2",
            "train.epochs=200", "--workers", "1"]  # fmt: skip
    process = subprocess.Popen(
        [*PROGRAM, *long],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("training 4 trials"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    directory = comparison_in(tmp_path / "runs", "demo")
    assert f"lossbench compare --resume {directory.id}" in errors
    assert "Traceback" not in errors
    assert directory.read_record()["status"] == "interrupted"
    assert not directory.summary.exists()
    refused = call("runs", "show", directory.id)
    assert refused.code == 0
    assert "interrupted" in refused.out
    unfinished = call("export", directory.id)
    assert unfinished.code == 2
    assert f"lossbench compare --resume {directory.id}" in unfinished.err

    resumed = call("compare", "--resume", directory.id, "--json")
    assert resumed.code == 0, resumed
    whole = call(*long, "--json", "--runs-dir", "other")
    assert resumed.document["summary"] == whole.document["summary"]
    again = call("compare", "--resume", directory.id)
    assert again.code == 2
    assert "finished" in again.err
