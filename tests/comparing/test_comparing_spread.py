"""The work of a comparison in several processes, which end with the one that started them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from comparisons import (
    BASE,
    ENVIRONMENT,
    TWO_NETWORKS,
    begin,
    contents,
)

from lossbench.config.trials import load_comparison
from lossbench.errors import (
    TrainingError,
)
from lossbench.session import workers

# --- spread over processes --------------------------------------------------------------------


def test_one_worker_and_two_give_the_same_numbers(tmp_path):
    vary = {**BASE["vary"], **TWO_NETWORKS}
    one = begin(tmp_path, vary=vary, workers=1).result()
    session = begin(tmp_path, vary=vary, workers=2)
    assert session.outlook()["pieces"] == 2
    advances = list(session)
    two = session.result()
    for name in ("trials", "curves"):
        assert contents(one.path)[name] == contents(two.path)[name]
    assert advances[-1].trials_done == advances[-1].trials == 12
    assert advances[-1].steps_done == advances[-1].steps == 12 * 10
    assert list(advances[-1].losses) == list(
        load_comparison(one.path / "comparison.yaml").spec.contenders
    )


SCRIPT = """
import sys
from pathlib import Path
from lossbench.config.trials import load_comparison_text
from lossbench.session import comparing
print("begins", flush=True)
loaded = load_comparison_text(Path(sys.argv[1]).read_text())
session = comparing.start(loaded, runs_dir=Path(sys.argv[2]), workers=int(sys.argv[3]))
for advance in session:
    print(advance.stage, advance.trials_done, flush=True)
print("path", session.result().path)
"""

LONG = """
name: long
dataset: iris
network: {name: mlp, hidden: [5]}
loss: cross_entropy
train: {epochs: 100000, batch_size: 21, device: cpu}
vary: {optimizer: [sgd, adam], network.hidden: [[4], [6]]}
seeds: 2
"""


def launch(tmp_path: Path, text: str, workers: int) -> "subprocess.Popen[str]":
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "long.yaml").write_text(text)
    return subprocess.Popen(
        [sys.executable, "script.py", "long.yaml", "runs", str(workers)],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=ENVIRONMENT,
    )  # fmt: skip


def read_until(process: "subprocess.Popen[str]", text: str) -> list[str]:
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.strip())
        if line.startswith(text):
            return lines
    raise AssertionError(process.communicate()[1])


def children(process: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False
    )
    return [int(text) for text in listed.stdout.split()]


def gone(process: int, seconds: float = 20.0) -> bool:
    """Tell whether a process ends within some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_ctrl_c_in_the_middle_of_the_work_of_two_processes(tmp_path):
    """And the script has no `if __name__ == "__main__"`: the workers must not run it again."""
    process = launch(tmp_path, LONG, workers=2)
    try:
        lines = read_until(process, "final")
        assert lines.count("begins") == 1
        started = children(process.pid)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1  # an uncaught InterruptedRunError
    assert "was interrupted" in errors
    assert "--resume" in errors
    assert "begins" not in rest
    assert all(gone(child) for child in started)
    record = json.loads(next((tmp_path / "runs").glob("long/*/run.json")).read_text())
    assert record["status"] == "interrupted"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_workers_end_with_the_process_that_started_them(tmp_path):
    process = launch(tmp_path, LONG, workers=2)
    try:
        read_until(process, "final")
        started = children(process.pid)
        assert len(started) >= 2
    finally:
        process.kill()  # SIGKILL: no cleaning up
        process.communicate()
    assert all(gone(child) for child in started)


def test_a_worker_that_is_killed_is_said_so(tmp_path, monkeypatch):
    def broken(*_: Any) -> Any:
        raise workers.BrokenProcessPool("terminated abruptly")
        yield

    monkeypatch.setattr(workers, "wait", broken)
    session = begin(tmp_path, vary={**BASE["vary"], **TWO_NETWORKS}, workers=2)
    monkeypatch.setattr(workers, "wait", lambda *_, **__: next(broken()))
    with pytest.raises(TrainingError, match="ended from outside"):
        session.result()
    assert session.directory.read_record()["status"] == "failed"
