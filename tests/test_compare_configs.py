"""Every comparison under configs/compare/ runs, in small, and says what to look for."""

from pathlib import Path

import pytest

from lossbench.config.trials import load_comparison
from lossbench.session.comparing import start

FILES = sorted((Path(__file__).parents[1] / "configs" / "compare").glob("*.yaml"))


def test_there_are_some() -> None:
    assert len(FILES) >= 8


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_says_what_to_look_for(file: Path) -> None:
    comment = []
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            break
        comment.append(line)
    text = " ".join(comment)
    assert "Look at" in text
    assert "minute" in text or "second" in text


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_runs_in_small(file: Path, tmp_path: Path) -> None:
    whole = load_comparison(file).spec
    loaded = load_comparison(file, ["train.epochs=2", "claims=[]", "tune=null"], seeds=2)
    result = start(loaded, runs_dir=tmp_path, workers=1).result()
    assert result.comparison.contenders == whole.contenders
    assert len(result.table) == len(whole.contenders) * len(whole.problems) * 2
    assert set(result.table.status.tolist()) <= {"done", "stalled", "diverged"}
    assert not (result.path / "pieces").exists()
