"""Comparisons as a newcomer tries them: what cannot be answered is refused before any training."""

from pathlib import Path

import pytest

from lossbench.config.trials import load_comparison
from lossbench.errors import ConfigError
from lossbench.session import comparing

FILE = """
dataset: {{name: {dataset}}}
network: {{name: mlp, hidden: [4]}}
loss: {loss}
train: {{epochs: 1, batch_size: 64}}
vary: {{optimizer: {{A: sgd, B: adam}}}}
seeds: 2
claims: [A below B on {metric} at the end]
"""


def prepare(folder: Path, **values: str) -> None:
    file = folder / "comparison.yaml"
    file.write_text(FILE.format(**values))
    comparing.dry_run(load_comparison(file))


def test_a_claim_on_a_split_that_the_data_lack_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no metric 'test/loss'") as caught:
        prepare(tmp_path, dataset="cubic", loss="mse", metric="test/loss")
    assert "comparison.yaml:8:" in str(caught.value)


def test_a_claim_on_test_data_stands_where_there_are_some(tmp_path: Path) -> None:
    prepare(tmp_path, dataset="digits", loss="cross_entropy", metric="test/loss")
