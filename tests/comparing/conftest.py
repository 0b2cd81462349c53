"""What every test of a comparison runs under."""

from pathlib import Path

import pytest
from comparisons import done


@pytest.fixture(autouse=True)
def _every_quarter_is_news(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every step be news, so that there is a middle of a group to be interrupted in."""
    monkeypatch.setattr("lossbench.training.loop.WATCH_SECONDS", 0.0)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return done(tmp_path_factory.mktemp("finished")).path
