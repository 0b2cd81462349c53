"""Every config that is shipped says what it shows, trains, and keeps what its comment promises."""

import json
import shlex
from pathlib import Path

import pytest
import yaml

import lossbench
from lossbench.cli.main import run
from lossbench.config.read import load

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
PNG = b"\x89PNG\r\n\x1a\n"


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def is_comparison(path: Path) -> bool:
    return "vary" in yaml.safe_load(path.read_text(encoding="utf-8"))


def comment_of(path: Path) -> list[str]:
    """The lines of the comment on top, without their `# `."""
    lines = path.read_text(encoding="utf-8").splitlines()
    end = next(place for place, line in enumerate(lines) if not line.startswith("#"))
    return [line.removeprefix("#").removeprefix(" ") for line in lines[:end]]


def commands() -> list[tuple[str, str]]:
    """Every command that a comment tells to type, with the file it stands in."""
    return [
        (name_of(path), line.strip())
        for path in CONFIGS
        for line in comment_of(path)
        if line.strip().startswith("lossbench ")
    ]


def test_the_configs_are_found() -> None:
    names = set(map(name_of, CONFIGS))
    wanted = "breast_cancer", "cubic", "custom_loss/train", "diabetes", "digits", "moons"
    assert {f"configs/{name}.yaml" for name in wanted} <= names


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_a_comment_says_what_it_shows_and_how_long_it_takes(path: Path) -> None:
    comment = comment_of(path)
    assert len(comment) >= 2
    assert any(unit in " ".join(comment[-2:]) for unit in ("second", "minute"))


@pytest.mark.parametrize("path", CONFIGS, ids=name_of)
def test_it_trains(path: Path, tmp_path: Path) -> None:
    if is_comparison(path):
        pytest.skip("varies something: a comparison, which `compare` trains and not `train`")
    result = lossbench.train(path, "train.epochs=1", "train.device=cpu", runs_dir=tmp_path)
    assert result.status == "done"
    assert result.summary["epochs"] == 1
    assert result.summary["final"]
    assert None not in result.run.metrics["step"]
    assert load(result.path / "config.resolved.yaml").spec.train.epochs == 1


@pytest.mark.parametrize(("file", "command"), commands())
def test_the_commands_of_its_comment_are_valid(file: str, command: str) -> None:
    program, verb, config, *overrides = shlex.split(command)
    assert (program, verb) in {("lossbench", "train"), ("lossbench", "compare")}
    assert (ROOT / config).is_file(), f"{file} names {config}"
    if not is_comparison(ROOT / config):
        load(ROOT / config, overrides)


def test_digits_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(ROOT / "configs" / "digits.yaml")
    code = run(["train", config, "--device", "cpu", "--json", "--runs-dir", str(tmp_path)])
    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document["status"] == "done"
    assert document["metrics"]["test"]["accuracy"] > 0.95
    plots = {Path(plot).name: Path(plot) for plot in document["plots"]}
    assert set(plots) == {"curves.png", "curves.svg"}
    assert plots["curves.png"].read_bytes().startswith(PNG)
    assert plots["curves.png"].parent == Path(document["run"]) / "plots"
    assert "<svg" in plots["curves.svg"].read_text(encoding="utf-8")


def test_no_straight_line_parts_the_moons(tmp_path: Path) -> None:
    moons = ROOT / "configs" / "moons.yaml"
    accuracy = {
        network: lossbench.train(moons, *overrides, "train.device=cpu", runs_dir=tmp_path).summary[
            "test"
        ]["accuracy"]
        for network, overrides in {"mlp": [], "linear": ["network=linear"]}.items()
    }
    assert accuracy["linear"] < 0.9 < accuracy["mlp"]


def test_early_stopping_ends_the_tumours_before_their_last_epoch(tmp_path: Path) -> None:
    result = lossbench.train(
        ROOT / "configs" / "breast_cancer.yaml", "train.device=cpu", runs_dir=tmp_path
    )
    assert result.summary["early_stopping"]["epoch"] < 100
    assert result.summary["test"]["accuracy"] > 0.9
    assert result.summary["best_step"] < result.summary["steps"]
