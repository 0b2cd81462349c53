"""The command line from outside: what stands on which stream, and which exit code it ends with."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from lossbench import __version__
from lossbench.cli import app as application
from lossbench.cli.main import run
from lossbench.errors import LossbenchError
from lossbench.registry import KINDS, loss

CONFIG = """\
name: demo
dataset: {name: cubic, samples: 60}
network: {name: mlp, hidden: [4]}
loss: mse
optimizer: {name: adam, lr: 0.01}
train: {epochs: 2, batch_size: 20, seed: 1, device: cpu}
"""


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


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Run a command line in a folder with a config, as the console script does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    (tmp_path / "demo.yaml").write_text(CONFIG)

    def invoke(*arguments: str | Path) -> Result:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return invoke


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs directory with two runs that differ in their rate."""
    folder = tmp_path_factory.mktemp("trained")
    config = folder / "demo.yaml"
    config.write_text(CONFIG)
    for rate in ("0.01", "0.1"):
        code = run(
            ["train", str(config), f"optimizer.lr={rate}", "-q", "--runs-dir", f"{folder}/runs"]
        )
        assert code == 0
    return folder / "runs"


def ids(runs: Path) -> list[str]:
    return sorted(path.name for path in runs.glob("*/*"))


# --- every command ----------------------------------------------------------------------------

COMMANDS = (
    "train", "compare", "predict", "init", "validate", "schema", "list", "show", "runs", "runs ls",
    "runs show", "runs diff", "runs rm", "plot", "plot runs",
    "plot comparison", "plot paths", "export",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_the_common_options(command: str) -> None:
    result = CliRunner().invoke(application.app, [*command.split(), "--help"])
    assert result.exit_code == 0
    for option in ("--json", "--quiet", "--verbose", "--debug"):
        assert option in result.stdout
    assert result.stderr == ""


def test_help_lists_the_commands_in_the_order_of_need(call: Call) -> None:
    result = call("--help")
    assert result.code == 0
    places = [result.out.index(f"  {name} ") for name in application.ORDER]
    assert places == sorted(places)
    assert "..." not in result.out.partition("Commands:")[2]  # no summary is cut off


def test_plain_help_fits_a_narrow_terminal(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    result = call("train", "--help")
    assert max(map(len, result.out.splitlines())) <= 40


def test_version(call: Call) -> None:
    assert call("--version").out == f"lossbench {__version__}\n"
    assert call("--version", "--json").document == {"version": __version__}


def json_cases(run_id: str) -> list[tuple[int, list[str]]]:
    """Every command, in success and in failure, with its exit code."""
    return [
        (0, ["list"]),
        (0, ["list", "losses"]),
        (2, ["list", "lossess"]),
        (0, ["show", "huber"]),
        (2, ["show", "hubr"]),
        (0, ["schema"]),
        (0, ["schema", "-o", "schema.json"]),
        (0, ["init", "new.yaml"]),
        (0, ["init", "-"]),
        (2, ["init", "demo.yaml"]),
        (0, ["validate", "demo.yaml"]),
        (2, ["validate", "demo.yaml", "optimizer.lrr=1"]),
        (2, ["validate", "missing.yaml"]),
        (2, ["validate"]),
        (0, ["train", "demo.yaml", "--dry-run"]),
        (2, ["train", "demo.yaml", "loss=cross_entropy"]),
        (2, ["train", "--resume", "nothing"]),
        (0, ["runs"]),
        (0, ["runs", "ls"]),
        (0, ["runs", "show", run_id]),
        (0, ["runs", "diff", run_id, "latest"]),
        (2, ["runs", "rm", "nothing"]),
        (0, ["plot", "runs", run_id, "-o", "x.svg"]),
        (2, ["plot", "runs", run_id, "-o", "x.gif"]),
        (0, ["export", run_id]),
        (0, ["export", run_id, "--format", "csv"]),
        (0, ["export", run_id, "-o", "x.csv"]),
        (2, ["export", run_id, "--format", "xml"]),
        (0, ["predict", run_id, "inputs.csv"]),
        (2, ["predict", run_id, "missing.csv"]),
        (2, []),
        (2, ["plot"]),
        (2, ["trian"]),
        (2, ["train", "--sed", "1"]),
    ]


def test_json_is_one_strict_document_for_every_command(
    call: Call, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "inputs.csv").write_text("x\n0.5\n")
    (tmp_path / "runs").symlink_to(trained)
    for code, arguments in json_cases(ids(trained)[0]):
        # The options stand behind, and before, the sub-command.
        for words in ([*arguments, "--json"], ["--json", *arguments]):
            if "new.yaml" in words:
                words.append("--force")
            result = call(*words)
            assert result.code == code, (words, result)
            document = result.document
            assert isinstance(document, dict)
            assert ("error" in document) == (code != 0)
            if code:
                assert document["error"]["exit_code"] == code
                assert document["error"]["message"]
                assert result.err == ""


# --- train ------------------------------------------------------------------------------------


def test_train_prints_its_result_and_says_the_rest_on_stderr(call: Call) -> None:
    result = call("train", "demo.yaml")
    assert result.code == 0
    (directory,) = Path("runs/demo").iterdir()
    assert str(directory) in result.out
    assert "validation" in result.out
    assert "epoch" not in result.out.replace("(epoch", "")
    lines = result.err.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["1/2", "2/2"]
    assert "on cpu (" in lines[0]
    assert f"lossbench train --resume {directory.name} train.epochs=4" in result.err
    assert {path.name for path in (directory / "plots").iterdir()} == {"curves.png", "curves.svg"}
    assert "\x1b" not in result.out + result.err


def test_train_as_json_says_run_status_and_metrics(call: Call) -> None:
    result = call("train", "demo.yaml", "--json", "--seed", "7", "--name", "007")
    document = result.document
    directory = Path(document["run"])
    assert document["status"] == "done"
    assert document["name"] == directory.parent.name == "007"
    assert document["metrics"]["final"]["validation/loss"] > 0
    assert json.loads((directory / "run.json").read_text())["command"] == [
        "lossbench", "train", "demo.yaml", "--json", "--seed", "7", "--name", "007",
    ]  # fmt: skip
    config = yaml.safe_load((directory / "config.resolved.yaml").read_text())
    assert config["train"]["seed"] == 7


def test_quiet_train_prints_the_path_alone(call: Call) -> None:
    result = call("train", "demo.yaml", "-q")
    assert result.err == ""
    assert Path(result.out.strip()).is_dir()
    assert len(result.out.splitlines()) == 1


def test_a_run_that_diverges_says_where_and_why(call: Call) -> None:
    arguments = ("train", "demo.yaml", "optimizer=sgd", "optimizer.lr=1e9")
    result = call(*arguments)
    assert result.code == 1
    assert re.search(r"diverged at step \d+", result.out)
    assert "last finite losses" in result.out
    assert "learning rate" in result.out
    document = call(*arguments, "--json").document
    assert document["status"] == "diverged"
    assert document["error"]["type"] == "DivergedError"
    assert document["metrics"]["diverged"]["causes"]


def test_a_run_that_diverges_in_the_middle_of_an_epoch_shows_its_last_losses(call: Call) -> None:
    # 20 steps an epoch: those behind the divergence are not finite and must not push these out.
    result = call("train", "demo.yaml", "optimizer=sgd", "optimizer.lr=1e9", "train.batch_size=3")
    assert re.search(r"last finite losses: [\d.]+ \(step 1\), ", result.out)
    assert "\n\n\n" not in result.out


def test_only_what_can_be_done_next_is_suggested(call: Call) -> None:
    assert "--resume" in call("train", "demo.yaml").err.partition("next:")[2]
    bound = call("train", "demo.yaml", "schedule=cosine_annealing").err.partition("next:")[2]
    assert "plot runs" in bound
    assert "--resume" not in bound  # its schedule ends where the run ended
    patience = "train.early_stopping={patience: 1, min_delta: 10}"
    stopped = call("train", "demo.yaml", "train.epochs=9", patience)
    assert "stopped early" in stopped.out
    assert "--resume" not in stopped.err.partition("next:")[2]


def test_commands_to_type_are_not_folded(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal's layout
    lines = [re.sub(r"\x1b\[\d*m", "", line) for line in call("train", "demo.yaml").err.split("\n")]
    assert any(line.startswith("  lossbench plot runs") and len(line) > 40 for line in lines)


def test_resume_goes_on_with_more_epochs(call: Call) -> None:
    call("train", "demo.yaml", "-q")
    result = call("train", "--resume", "latest", "train.epochs=3")
    assert result.code == 0
    assert "epoch 3/3" in result.err
    assert "epoch 2/3" not in result.err
    assert len(list(Path("runs/demo").iterdir())) == 1


def test_a_dry_run_writes_nothing(call: Call) -> None:
    result = call("train", "demo.yaml", "--dry-run", "-v")
    assert result.code == 0
    assert re.search(r"parameters\s+13", result.out)
    assert not Path("runs").exists()


def test_a_dry_run_names_a_few_of_many_inputs(call: Call) -> None:
    changes = ("dataset=digits", "loss=cross_entropy", "train.epochs=1")
    line = next(
        line
        for line in call("train", "demo.yaml", "--dry-run", *changes).out.splitlines()
        if line.startswith("input_names")
    )
    assert line.endswith("... pixel_7_7 (64)")
    assert len(line) < 200


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ([], "which config", "lossbench init"),
        (["loss=huber"], "the config itself comes first", "lossbench train CONFIG loss=huber"),
        (["--resume", "latest", "demo.yaml"], "has no place", "--resume RUN train.epochs"),
        (["--resume", "latest", "--dry-run"], "do not go together", ""),
        (["demo.yaml", "--device", "quda"], "argument '--device quda'", ""),
        (["demo.yaml", "--seed", "-1"], "argument '--seed -1'", ""),
        (["demo.yaml", "--seed", "x"], "'--seed'", ""),
        (["demo.yaml", "optimizer.lrr=1"], "argument 'optimizer.lrr=1'", "did you mean lr?"),
        (["demo.yml"], "demo.yml", ""),
    ],
)
def test_wrong_usage_of_train_ends_with_2_and_makes_nothing(
    call: Call, arguments: list[str], message: str, hint: str
) -> None:
    result = call("train", *arguments)
    assert result.code == 2
    assert result.out == ""
    assert message in result.err
    assert hint in result.err
    assert "Traceback" not in result.err
    assert not Path("runs").exists()


def test_a_picture_that_fails_fails_no_run(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bytes:
        raise RuntimeError("no ink")

    monkeypatch.setattr("lossbench.views.draw.encode", broken)
    result = call("train", "demo.yaml")
    assert result.code == 0
    assert "no picture: no ink" in result.err


# --- predict, export, plot --------------------------------------------------------------------


def test_predictions_are_a_table_or_a_document(call: Call, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x\n0.5\n-0.5\n")
    where = ("--runs-dir", trained)
    table = call("predict", "latest", "x.csv", *where)
    assert table.code == 0
    assert table.out.splitlines()[0] == "prediction"
    document = call("predict", "latest", "x.csv", *where, "--json").document
    values = [row["prediction"] for row in document["predictions"]]
    assert values == [float(line) for line in table.out.splitlines()[1:]]
    assert max(len(line) for line in table.out.splitlines()[1:]) <= 14  # single precision
    assert document["run"] in ids(trained)  # which one `latest` is
    assert call("predict", "latest", "x.csv", *where, "-o", "out.csv").out == "out.csv\n"
    assert Path("out.csv").read_text() == table.out


def test_export_writes_the_same_to_a_file_as_to_stdout(call: Call, trained: Path) -> None:
    where = ("--runs-dir", trained)
    text = call("export", "latest", *where).out
    assert text.startswith("step,epoch,split")
    assert call("export", "latest", "-o", "deep/er/x.csv", *where).code == 0
    assert Path("deep/er/x.csv").read_text() == text
    assert call("export", "latest", "-o", "x.txt", *where).code == 2
    assert not Path("x.txt").exists()
    assert call("export", "latest", "-o", "x.txt", "--format", "csv", *where).code == 0
    assert Path("x.txt").read_text() == text
    whole = call("export", "latest", "-o", "x.json", *where)
    assert whole.out == "x.json\n"
    assert json.loads(Path("x.json").read_text())["metrics"]["loss"]


def test_a_link_stays_a_link_and_a_device_a_device(call: Call, trained: Path) -> None:
    Path("real.csv").write_text("old")
    Path("link.csv").symlink_to("real.csv")
    call("export", "latest", "-o", "link.csv", "--runs-dir", trained)
    assert Path("link.csv").is_symlink()
    assert Path("real.csv").read_text().startswith("step,")
    fifo = Path("fifo")
    os.mkfifo(fifo)
    descriptor = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        result = call("export", "latest", "-o", fifo, "--runs-dir", trained)
        assert result.code == 0
        assert os.read(descriptor, 5) == b"step,"
    finally:
        os.close(descriptor)
    assert fifo.is_fifo()


def test_an_output_that_cannot_be_written_is_one_message(call: Call, trained: Path) -> None:
    Path("file").write_text("")
    result = call("export", "latest", "-o", "file/x.csv", "--runs-dir", trained)
    assert result.code == 1
    assert "cannot write file/x.csv" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_plot_runs_overlays_runs(call: Call, trained: Path, ending: str) -> None:
    result = call(
        "plot", "runs", *ids(trained), "-o", f"x.{ending}", "--runs-dir", trained, "--json"
    )
    assert result.code == 0
    assert result.document["panels"] >= 2
    start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert Path(f"x.{ending}").read_bytes().startswith(start)


# --- runs -------------------------------------------------------------------------------------


def test_runs_are_listed_shown_compared_and_removed(call: Call) -> None:
    assert call("runs").out == ""
    made: list[str] = []
    for rate in ("0.01", "0.02"):
        call("train", "demo.yaml", f"optimizer.lr={rate}", "-q", "train.epochs=1")
        made += set(ids(Path("runs"))) - set(made)  # ids of one second have no order
    first, second = made
    listed = call("runs", "ls")
    assert {line.split()[0] for line in listed.out.splitlines()[1:]} == set(made)
    assert re.search(r"optimizer\.lr\s+0\.01", call("runs", "show", first).out)
    assert re.search(r"optimizer\.lr\s+0\.01\s+0\.02", call("runs", "diff", first, second).out)
    refused = call("runs", "rm", first, "nothing")
    assert refused.code == 2
    assert set(ids(Path("runs"))) == set(made)
    assert call("runs", "rm", first).out == f"{first}\n"
    assert ids(Path("runs")) == [second]


def test_runs_ls_says_how_many_epochs_were_made(call: Call) -> None:
    call("train", "demo.yaml", "-q", "train.epochs=9",
         "train.early_stopping={patience: 1, min_delta: 10}")  # fmt: skip
    made, planned = re.search(r" (\d) of (\d) ", call("runs").out).groups()  # type: ignore[union-attr]
    assert (int(made), int(planned)) == (2, 9)
    assert call("runs", "--json").document["runs"][0]["epochs_made"] == 2


def test_a_config_is_shown_as_it_is_typed(call: Call) -> None:
    call("train", "demo.yaml", "-q", "optimizer.lr=0.0012345678", "train.epochs=1")
    shown = dict(
        line.split(maxsplit=1)
        for line in call("runs", "show", "latest").out.partition("Config\n")[2].splitlines()
    )
    assert shown["optimizer.lr"] == "0.0012345678"
    for key, value in shown.items():
        if key != "metrics":
            changed = call("validate", "demo.yaml", f"{key}={value}")
            assert changed.code == 0, f"{key}={value}: {changed.err}"


def test_values_of_different_losses_are_not_subtracted(call: Call) -> None:
    for loss_name in ("mse", "huber"):
        call("train", "demo.yaml", "-q", f"loss={loss_name}", "metrics=[mae]", "train.epochs=1")
    runs = [run["id"] for run in call("runs", "--json").document["runs"]]
    metrics = call("runs", "diff", *runs, "--json").document["metrics"]
    assert metrics["final validation/loss"]["difference"] is None
    assert metrics["final validation/mae"]["difference"] is not None
    assert "other loss" in call("runs", "diff", *runs).out


def test_a_place_that_takes_no_folders_is_named_with_the_reason(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    result = call("train", "demo.yaml", "--runs-dir", "gone")
    assert result.code == 2
    assert "No such file or directory" in result.err


# --- the catalogue ----------------------------------------------------------------------------


def test_list_counts_what_the_registries_hold(call: Call) -> None:
    counts = call("list", "--json").document["kinds"]
    assert sum(counts.values()) == sum(len(registry) for registry in KINDS.values())
    for spelling in ("losses", "loss"):
        names = [item["name"] for item in call("list", spelling, "--json").document["components"]]
        assert names == loss.names()


def test_show_takes_the_users_own(call: Call) -> None:
    Path("mine.py").write_text(
        "def cubed(prediction, target, *, scale: float = 1.0):\n"
        '    """Cube the residual."""\n'
        "    return scale * abs(prediction - target) ** 3\n"
    )
    page = call("show", "mine.py:cubed", "--kind", "loss").out
    assert "Cube the residual." in page
    assert re.search(r"scale\s+1\.0", page)
    assert "--kind" in call("show", "mine.py:cubed").err
    nameless = call("validate", "demo.yaml", "loss=mine.py")
    assert nameless.code == 2
    assert "write 'mine.py:cubed'" in nameless.err
    imported = call("validate", "demo.yaml", "loss=torch.nn:MSELoss")
    assert imported.code == 2
    assert "name the module that has" in imported.err


def test_no_error_is_a_wall_of_names(call: Call) -> None:
    result = call("show", "qqqqqqqqqqqq")
    assert result.code == 2
    assert re.search(r" and \d+ more$", result.err.strip())


def test_show_takes_torchs_names_and_says_the_nearest(call: Call) -> None:
    assert call("show", "nn.HuberLoss").out == call("show", "huber").out
    result = call("show", "relw")
    assert result.code == 2
    assert "relu" in result.err
    assert result.out == ""


def test_a_name_in_several_kinds_shows_each(call: Call) -> None:
    name = next(
        name
        for kind, registry in KINDS.items()
        for name in registry
        if any(name in other for what, other in KINDS.items() if what != kind)
    )
    kinds = [kind for kind, registry in KINDS.items() if name in registry]
    result = call("show", name)
    assert all(f"{name} ({kind})" in result.out for kind in kinds)
    assert f"{len(kinds)} components" in result.err
    only = call("show", name, "--kind", kinds[0], "--json").document["components"]
    assert [component["kind"] for component in only] == kinds[:1]


# --- configs ----------------------------------------------------------------------------------


def test_init_writes_a_config_that_validates_and_replaces_none(call: Call) -> None:
    assert call("init").out == "config.yaml\n"
    assert call("validate", "config.yaml").code == 0
    before = Path("config.yaml").read_text()
    assert call("init", "-").out == before
    Path("config.yaml").write_text("mine")
    refused = call("init")
    assert refused.code == 2
    assert "--force" in refused.err
    assert Path("config.yaml").read_text() == "mine"
    assert call("init", "config.yaml", "--force").code == 0
    assert Path("config.yaml").read_text() == before


def test_every_problem_of_a_config_is_printed_with_its_place(call: Call) -> None:
    Path("bad.yaml").write_text("dataset: '[red]x[/red]'\nloss: msee\noptimizer: adam\n")
    result = call("validate", "bad.yaml")
    assert result.code == 2
    lines = result.err.splitlines()
    assert lines[0] == "error: 2 problems in the config"
    assert lines[1].startswith("bad.yaml:1:10: ")
    assert "[red]x[/red]" in lines[1]  # a name is no markup
    assert "did you mean mse" in result.err
    problems = call("validate", "bad.yaml", "--json").document["error"]["problems"]
    assert [(problem["line"], problem["column"]) for problem in problems] == [(1, 10), (2, 7)]


def test_validate_prints_every_default_when_asked(call: Call) -> None:
    assert call("validate", "demo.yaml").out == "demo.yaml: valid\n"
    resolved = call("validate", "demo.yaml", "-v").out.partition("\n")[2]
    assert yaml.safe_load(resolved)["optimizer"]["betas"] == [0.9, 0.999]


def test_the_schema_goes_to_stdout_or_to_a_file(call: Call) -> None:
    document = call("schema").document
    assert document == call("schema", "--json").document
    call("schema", "-o", "schema.json")
    assert json.loads(Path("schema.json").read_text()) == document


# --- errors, streams --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["trian"], "train"),
        (["runs", "shwo"], "show"),
        (["plot", "run"], "runs"),
        (["show", "mse", "--jsn"], "--json"),
        (["train", "x.yaml", "--sed", "1"], "--seed"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_name(
    call: Call, arguments: list[str], nearest: str
) -> None:
    result = call(*arguments)
    assert result.code == 2
    assert f"did you mean {nearest}" in result.err
    assert result.out == ""


def test_debug_shows_the_traceback_and_nothing_else_does(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("nobody foresaw this [bold]")

    monkeypatch.setattr("lossbench.config.read.load", broken)
    plain = call("validate", "demo.yaml")
    assert plain.code == 1
    assert "unexpected ZeroDivisionError: nobody foresaw this [bold]" in plain.err
    assert "Traceback" not in plain.err
    assert "Traceback" in call("validate", "demo.yaml", "--debug").err
    assert call("validate", "demo.yaml", "--json").document["error"]["exit_code"] == 1


@pytest.mark.parametrize("code", [1, 2, 3, 4, 143])
def test_an_error_ends_with_its_own_exit_code(
    call: Call, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        error = LossbenchError("no", hint="yes")
        error.exit_code = code
        raise error

    monkeypatch.setattr("lossbench.config.read.load", refuse)
    result = call("validate", "demo.yaml")
    assert (result.code, result.err) == (code, "error: no\n  yes\n")


def test_ctrl_c_ends_with_130(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lossbench.config.read.load", interrupt)
    result = call("validate", "demo.yaml")
    assert result.code == 130
    assert "interrupted" in result.err


def test_colour_is_for_terminals_and_can_be_forced_and_forbidden(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b" not in call("list").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in call("list").out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in call("list").out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b" not in call("list", "--json").out


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("lossbench tra", "train"),
        ("lossbench list loss", "losses"),
        ("lossbench show hub", "huber"),
        ("lossbench runs show lat", "latest"),
        ("lossbench train --resu", "--resume"),
    ],
)
def test_the_shell_completes_commands_components_and_runs(
    call: Call, monkeypatch: pytest.MonkeyPatch, line: str, expected: str
) -> None:
    monkeypatch.setenv("_LOSSBENCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    assert expected in call().out.split()


# --- as a process of its own ------------------------------------------------------------------

PROGRAM = [sys.executable, "-m", "lossbench"]


def test_what_needs_no_tensors_imports_neither_torch_nor_matplotlib(
    tmp_path: Path, trained: Path
) -> None:
    (tmp_path / "demo.yaml").write_text(CONFIG)
    script = f"""
import sys
from lossbench.cli.main import run
for words in ("--help", "--version", "list", "list losses --json", "show huber", "schema",
              "init new.yaml", "validate demo.yaml", "runs ls --runs-dir {trained}",
              "runs show latest --runs-dir {trained}", "trian"):
    run(words.split())
    heavy = {{"torch", "matplotlib", "sklearn", "scipy", "pandas"}} & set(sys.modules)
    assert not heavy, (words, heavy)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_reader_that_goes_away_is_no_error_of_ours() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*PROGRAM, "list", "losses"], stdout=writing, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writing)
    assert done.returncode == application.BROKEN_PIPE
    assert done.stderr == b""


def test_a_terminal_without_unicode_still_gets_its_text() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "FORCE_COLOR": "1"}
    done = subprocess.run(
        [*PROGRAM, "list", "losses"], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0
    assert b"huber" in done.stdout
    assert done.stderr == b""


def test_an_interrupted_run_is_saved_and_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text(CONFIG)
    process = subprocess.Popen(
        [*PROGRAM, "train", "demo.yaml", "train.epochs=100", "dataset.samples=20000"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:  # the first of a hundred epochs has ended: it is under way
        if line.startswith("epoch 1/"):
            break
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    (directory,) = (tmp_path / "runs/demo").iterdir()
    assert f"lossbench train --resume {directory.name}" in errors
    assert "Traceback" not in errors
    assert json.loads((directory / "run.json").read_text())["status"] == "interrupted"
