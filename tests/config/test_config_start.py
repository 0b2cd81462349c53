"""Validation is quick to start: no torch, no matplotlib, no Python of the user's."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
from lossbench.config.read import load
from lossbench.config.schema import json_schema
from lossbench.config.starter import starter
from lossbench.config.write import dump
dump(load(Path(sys.argv[1])).spec)
starter()
json_schema()
heavy = {"torch", "matplotlib", "sklearn", "scipy", "pandas", "rich", "typer"} & set(sys.modules)
assert not heavy, heavy
assert "mine" not in sys.modules
"""


def test_nothing_heavy_is_imported_and_nothing_of_the_users_is_run(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\nraise SystemExit('run')\n"
        "def own(prediction, target, *, q: float = 1.0):\n    '''Mine.'''\n"
    )
    config = tmp_path / "c.yaml"
    config.write_text(
        "dataset: cubic\nloss: {name: mine.py:own, q: 2}\noptimizer: {name: ema, base: adamw}\n"
        "network: {name: layers, layers: [{linear: 4}, activation]}\n"
    )
    subprocess.run([sys.executable, "-c", SCRIPT, str(config)], check=True)
