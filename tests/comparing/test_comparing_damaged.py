"""A comparison's directory that is not whole: every missing or damaged file is named."""

import shutil
from pathlib import Path

import pytest
from comparisons import THREE_GROUPS, assert_same, begin, done

from lossbench.analysis.source import comparison_table
from lossbench.errors import (
    LossbenchError,
    RunError,
)
from lossbench.rundir.comparison import ComparisonDirectory
from lossbench.session import comparing

# --- a directory that is not whole ------------------------------------------------------------


@pytest.fixture
def copied(finished, tmp_path) -> ComparisonDirectory:
    path = tmp_path / "demo" / finished.name
    shutil.copytree(finished, path)
    return ComparisonDirectory(path)


@pytest.mark.parametrize("name", ["run.json", "trials.csv", "curves.safetensors"])
def test_a_missing_file_is_named(name, copied):
    (copied.path / name).unlink()
    with pytest.raises(RunError, match=name):
        comparison_table(copied)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", b"{"),
        ("run.json", b"{}"),
        ("trials.csv", b"trial,contender\n0,SGD\n"),
        ("trials.csv", b"\xff\xfe"),
        ("trials.csv", b""),
        ("curves.safetensors", b"12345678"),
        ("curves.safetensors", b""),
    ],
)
def test_a_damaged_file_is_named(name, content, copied):
    (copied.path / name).write_bytes(content)
    with pytest.raises(RunError) as caught:
        comparison_table(copied)
    assert copied.id in str(caught.value) or name in str(caught.value)


def test_curves_of_other_trials_are_refused(copied):
    text = copied.trials.read_text().splitlines()
    copied.trials.write_text("\n".join(text[:-1]) + "\n")
    with pytest.raises(RunError, match="trials"):
        comparison_table(copied)


def interrupted(tmp_path: Path) -> ComparisonDirectory:
    session = begin(tmp_path, vary=THREE_GROUPS)
    for advance in session:
        if advance.trials_done == 12:
            break
    iter(session).close()  # type: ignore[attr-defined]
    return session.directory


def test_a_missing_piece_is_trained_again(tmp_path):
    expected = done(tmp_path / "whole", vary=THREE_GROUPS)
    directory = interrupted(tmp_path / "cut")
    directory.piece("final-00000").unlink()
    result = comparing.resume("latest", runs_dir=tmp_path / "cut").result()
    assert_same(expected.path, result.path)


def test_a_damaged_piece_is_named_with_what_to_do(tmp_path):
    directory = interrupted(tmp_path)
    directory.piece("final-00001").write_bytes(b"nonsense")
    with pytest.raises(RunError, match=r"final-00001.*cannot be read"):
        comparing.resume("latest", runs_dir=tmp_path).result()


def test_a_piece_of_other_trials_is_refused(tmp_path):
    directory = interrupted(tmp_path)
    shutil.copy(directory.piece("final-00000"), directory.piece("final-00001"))
    with pytest.raises(RunError, match="other trials"):
        comparing.resume("latest", runs_dir=tmp_path).result()


def test_an_edited_comparison_is_not_resumed(tmp_path):
    directory = interrupted(tmp_path)
    directory.config.write_text(directory.config.read_text().replace("seeds: 3", "seeds: 4"))
    with pytest.raises(RunError, match="edited"):
        comparing.resume("latest", runs_dir=tmp_path)


def test_an_edited_value_is_not_resumed_beside_trials_with_the_old_one(tmp_path):
    directory = interrupted(tmp_path)
    text = directory.config.read_text()
    assert "lr: 0.05" in text
    directory.config.write_text(text.replace("lr: 0.05", "lr: 0.07"))
    with pytest.raises(RunError, match="edited"):
        comparing.resume("latest", runs_dir=tmp_path)
    directory.config.write_text(text)
    assert len(comparing.resume("latest", runs_dir=tmp_path).result().table) == 18


def test_a_resume_may_take_other_workers_and_keeps_the_pieces(tmp_path):
    directory = interrupted(tmp_path)
    before = directory.read_record()["work"]
    session = comparing.resume("latest", runs_dir=tmp_path, workers=2)
    assert session.outlook()["workers"] == 2
    assert directory.read_record()["work"] == before


@pytest.mark.parametrize(
    ("wanted", "said"),
    [("latst", "latest"), ("demo", "-c18-"), ("nothing like it", "lossbench runs")],
)
def test_what_was_probably_meant_is_said(wanted, said, tmp_path):
    directory = interrupted(tmp_path)
    with pytest.raises(RunError) as caught:
        comparing.resume(wanted, runs_dir=tmp_path)
    assert said in str(caught.value.hint)
    if wanted == "demo":
        assert directory.id in str(caught.value.hint)


def test_a_damaged_plan_of_work_is_said_so(tmp_path):
    directory = interrupted(tmp_path)
    record = directory.read_record()
    record["work"]["final"]["chunks"][0].pop("plan")
    directory.write_record(record)
    with pytest.raises(RunError, match="damaged"):
        comparing.resume("latest", runs_dir=tmp_path)


def test_what_is_not_there_cannot_be_resumed(tmp_path):
    with pytest.raises(RunError, match="no comparison"):
        comparing.resume("latest", runs_dir=tmp_path)
    directory = interrupted(tmp_path)
    directory.config.unlink()
    with pytest.raises(LossbenchError, match=r"comparison\.yaml"):
        comparing.resume(directory.id, runs_dir=tmp_path)
