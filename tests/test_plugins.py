"""The user's own components: read without running, imported, blamed for their errors."""

import sys
import textwrap
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from lossbench import plugins
from lossbench.components.declarations import LossFacts
from lossbench.components.vocabulary import FITS, Data, NonNegative
from lossbench.config.read import load, load_text
from lossbench.errors import ConfigError, UsageError
from lossbench.plugins.syntax import COMPUTED
from lossbench.registry import REQUIRED

LOSSES = '''
"""My losses."""

import math
from typing import Literal

import torch
from torch import nn

from lossbench.components.vocabulary import NonNegative
from lossbench.registry import loss

SHARE = 0.25


class Tilted(nn.Module):
    """Pulls one way.

    Knobs:
        tilt: how hard.
    """

    def __init__(self, tilt: float = 1, *, powers: list[int] = [1, 2], mode: Literal["a", 5] = "a"):
        super().__init__()
        self.tilt = tilt

    def forward(self, prediction, target):
        return self.tilt * (prediction - target).abs()


class Steeper(Tilted):
    pass


Alias = Tilted


def plain(prediction, target, share=SHARE, *, power: NonNegative = 2, seen=None, root=math.sqrt(2)):
    """Plainly so."""
    return share * (prediction - target).abs() ** power


@loss(target="real", zero_at_target=True)
def declared(prediction, target, *, gain: float = 2.0):
    """Declared."""
    return gain * (prediction - target) ** 2


def broken(prediction, target):
    width = 0
    return prediction / width


def narrow(prediction):
    return prediction


computed = plain
lazy = lambda prediction, target: prediction
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(LOSSES)
    return tmp_path


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(textwrap.dedent(text))
    return file


def knobs(reference: str, folder: Path, kind: str = "loss") -> dict[str, tuple[Any, Any]]:
    entry = plugins.outline(reference, kind, folder)
    return {knob.name: (knob.annotation, knob.default) for knob in entry.knobs}


def test_a_class_is_read_by_its_init(folder: Path) -> None:
    entry = plugins.outline("mine.py:Tilted", "loss", folder)
    assert knobs("mine.py:Tilted", folder) == {
        "tilt": (float, 1),
        "powers": (tuple[int, ...], (1, 2)),
        "mode": (Literal["a", 5], "a"),
    }
    assert entry.builds_module
    assert entry.knob("tilt").doc == "how hard."
    assert entry.doc.summary == "Pulls one way."
    assert (entry.file, entry.line) == (folder / "mine.py", 16)
    assert entry.name == "mine.py:Tilted"


def test_a_base_class_of_the_same_file_and_an_alias_are_followed(folder: Path) -> None:
    assert knobs("mine.py:Steeper", folder) == knobs("mine.py:Tilted", folder)
    assert knobs("mine.py:Alias", folder) == knobs("mine.py:Tilted", folder)
    assert plugins.load("mine.py:Steeper", "loss", folder).function(tilt=2.0).tilt == 2.0


def test_a_function_is_read_by_its_arguments(folder: Path) -> None:
    assert knobs("mine.py:plain", folder) == {
        "share": (float | int, 0.25),
        "power": (NonNegative, 2),
        "seen": (Any, None),
        "root": (Any, COMPUTED),
    }
    assert not plugins.outline("mine.py:plain", "loss", folder).builds_module


@pytest.mark.parametrize(
    ("annotation", "meaning"),
    [
        ("int", int),
        ("'float'", float),
        ("float | None", float | None),
        ("Optional[int]", int | None),
        ("Union[int, str]", int | str),
        ("tuple[float, float]", tuple[float, float]),
        ("vocabulary.NonNegative", NonNegative),
        ("Sequence[bool]", tuple[bool, ...]),
        ("torch.Tensor", Any),
        ("list[torch.Tensor]", Any),
        ("3 + 4", Any),
    ],
)
def test_annotations(tmp_path: Path, annotation: str, meaning: Any) -> None:
    write(tmp_path, "a.py", f"def f(x, y, *, knob: {annotation}): ...\n")
    assert knobs("a.py:f", tmp_path) == {"knob": (meaning, REQUIRED)}


def test_nothing_is_run_by_reading(tmp_path: Path) -> None:
    write(
        tmp_path, "bomb.py", "raise RuntimeError\ndef f(prediction, target, *, q: int = 3): ...\n"
    )
    before = set(sys.modules)
    assert knobs("bomb.py:f", tmp_path) == {"q": (int, 3)}
    assert {name for name in set(sys.modules) - before if "bomb" in name} == set()
    with pytest.raises(UsageError, match=r"bomb\.py:1: RuntimeError"):
        plugins.load("bomb.py:f", "loss", tmp_path)


def test_undeclared_and_declared_facts(folder: Path) -> None:
    undeclared = plugins.outline("mine.py:plain", "loss", folder).facts
    assert undeclared.prediction == "raw"
    natural = {
        kind: next(encoding for encoding in undeclared.encodings if encoding in FITS[kind])
        for kind in FITS
        if kind != "objective"  # whose value no undeclared loss would find among the outputs
    }
    assert natural == {
        "real": "real", "count": "real", "class": "index", "multilabel": "zero_one",
        "distribution": "distribution",
    }  # fmt: skip
    read = plugins.outline("mine.py:declared", "loss", folder)
    loaded = plugins.load("mine.py:declared", "loss", folder)
    assert read.facts == loaded.facts == LossFacts(target="real", zero_at_target=True)
    assert [k.name for k in read.knobs] == [k.name for k in loaded.knobs] == ["gain"]
    assert read.name == loaded.name == "mine.py:declared"


def test_loading_gives_what_can_be_called(folder: Path) -> None:
    x, y = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0])
    assert plugins.load("mine.py:plain", "loss", folder).function(x, y, power=1.0).tolist() == [
        0.25, 0.75,
    ]  # fmt: skip
    module = plugins.load("mine.py:Tilted", "loss", folder).function(tilt=2.0)
    assert module(x, y).tolist() == [2.0, 6.0]
    first = plugins.load("mine.py:Tilted", "loss", folder).function
    assert plugins.load("mine.py:Tilted", "loss", folder).function is first  # imported once
    (folder / "mine.py").write_text(LOSSES.replace("self.tilt *", "10 *"))
    again = plugins.load("mine.py:Tilted", "loss", folder).function()
    assert again(x, y).tolist() == [10.0, 30.0]  # the text of now, not the one of then


def test_a_file_may_import_its_neighbour_and_the_path_is_put_back(tmp_path: Path) -> None:
    write(tmp_path, "neighbour_of_mine.py", "FACTOR = 3\n")
    write(
        tmp_path,
        "own.py",
        """
        from neighbour_of_mine import FACTOR

        def f(x):
            return FACTOR * x
        """,
    )
    before = list(sys.path)
    assert plugins.load("own.py:f", "activation", tmp_path).function(2) == 6
    assert sys.path == before


@pytest.mark.parametrize(
    ("reference", "message", "hint"),
    [
        ("mine.py:Tiltet", "there is no 'Tiltet' in", "did you mean Tilted?"),
        ("nine.py:Tilted", "there is no file", "did you mean mine.py?"),
        ("mine.py:lazy", "imported or computed", "'def' or 'class'"),
        ("mine.py:nn", "imported or computed", "'def' or 'class'"),
        ("mine.py:narrow", "'narrow' must take (prediction, target)", ""),
        ("mine:Tilted ", "'mine' has no", "") if False else ("mine.py:", "is no reference", ""),
        (":Tilted", "is no reference", "file.py:Name"),
        ("no_such_package_at_all.losses:X", "there is no module 'no_such_package_at_all'", ""),
        ("../x/y:Z", "names no module", "ending"),
        ("math:sqrt", "no module 'math'", "")
        if sys.platform == "none"
        else ("a b:c", "names no", ""),
    ],
)
def test_a_reference_that_leads_nowhere(
    folder: Path, reference: str, message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        plugins.outline(reference, "loss", folder)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_a_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    file = write(tmp_path, "bad.py", "x = 1\ndef f(:\n")
    with pytest.raises(UsageError) as caught:
        plugins.outline("bad.py:f", "loss", tmp_path)
    assert caught.value.message.startswith(f"{file}:2: ")
    assert caught.value.hint == "def f(:"


@pytest.mark.parametrize(
    "raw", [b"\x00", b"\xff\xfe", b"(" * 3000, b"x = " + b"-" * 100_000 + b"1"]
)
def test_bytes_that_are_no_python(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "bad.py").write_bytes(raw)
    with pytest.raises(UsageError):
        plugins.outline("bad.py:f", "loss", tmp_path)


def test_an_error_in_the_users_code_names_the_users_line(folder: Path) -> None:
    entry = plugins.load("mine.py:broken", "loss", folder)
    with pytest.raises(UsageError) as caught, plugins.user_code(entry.file):
        entry.function(1.0, 1.0)
    line = LOSSES.splitlines().index("    return prediction / width") + 1
    assert caught.value.message == (
        f"{folder / 'mine.py'}:{line}: ZeroDivisionError: float division by zero"
    )
    assert caught.value.hint == "in the line: return prediction / width"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_error_of_ours_is_not_blamed_on_the_user(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), plugins.user_code(folder / "mine.py"):
        1 / 0  # noqa: B018
    ours = UsageError("ours")
    with pytest.raises(UsageError) as caught, plugins.user_code(folder / "mine.py"):
        raise ours
    assert caught.value is ours


def test_a_torch_error_deep_inside_is_blamed_on_the_users_line(folder: Path) -> None:
    entry = plugins.load("mine.py:plain", "loss", folder)
    with (
        pytest.raises(UsageError, match=r"mine\.py:\d+: RuntimeError"),
        plugins.user_code(entry.file),
    ):
        entry.function(torch.zeros(2), torch.zeros(3))


def test_a_package_is_found_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "own_package_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("COUNT = 1\n")
    write(package, "losses.py", "def mine(prediction, target, *, q: float = 1.0):\n    return q\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "own_package_of_a_test.losses:mine"
    spec = load_text(f"dataset: cubic\nloss: {name}\noptimizer: sgd\n").spec
    assert "own_package_of_a_test" not in sys.modules
    assert (spec.loss.name, spec.loss.file) == (name, package / "losses.py")
    assert plugins.resolve(spec.loss).function(0, 0, q=3.0) == 3.0


def test_an_entry_point_is_a_name_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "installed_of_a_test.py", "def f(prediction, target, *, q: float = 1.0): ...\n")
    info = tmp_path / "installed_of_a_test-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: installed-of-a-test\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text("[lossbench.loss]\nsturdy = installed_of_a_test:f\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = "dataset: cubic\noptimizer: sgd\nloss: "
    spec = load_text(config + "{name: sturdy, q: 2}").spec
    assert (spec.loss.name, spec.loss.knobs) == ("sturdy", {"q": 2.0})
    assert plugins.resolve(spec.loss).name == "sturdy"
    with pytest.raises(ConfigError, match="did you mean sturdy"):
        load_text(config + "sturdi")


def test_in_a_config(folder: Path) -> None:
    config = folder / "c.yaml"
    config.write_text(
        "dataset: cubic\nloss: {name: mine.py:Tilted, tilt: 2}\noptimizer: sgd\nactivation: relu\n"
    )
    loaded = load(config)
    assert loaded.files == (folder / "mine.py",)
    choice = loaded.spec.loss
    assert (choice.name, choice.file) == ("mine.py:Tilted", folder / "mine.py")
    assert choice.knobs == {"tilt": 2.0, "powers": (1, 2), "mode": "a"}
    assert plugins.resolve(choice).builds_module
    with pytest.raises(ConfigError) as caught:
        load(config, ["loss.tild=3", "loss.mode=c", "loss.powers=[x]"])
    assert [(p.message, p.hint) for p in caught.value.problems] == [
        ("unknown key 'tild' in loss (mine.py:Tilted)", "did you mean tilt?"),
        ("loss.mode must be 'a' or 5, got 'c'", None),
        ("loss.powers must be a list of whole numbers, got 'x'", None),
    ]
    config.write_text("dataset: cubic\nloss: mine.py:Tiltet\noptimizer: sgd\n")
    with pytest.raises(ConfigError, match="did you mean Tilted") as caught:
        load(config)
    assert (caught.value.problems[0].place.line, caught.value.problems[0].place.column) == (2, 7)


def test_a_computed_default_is_left_to_the_function(folder: Path) -> None:
    spec = load(mapping={
        "dataset": "cubic", "loss": f"{folder}/mine.py:plain", "optimizer": "sgd"
    }).spec  # fmt: skip
    assert "root" not in spec.loss.knobs
    assert spec.loss.knobs["power"] == 2


def test_the_other_kinds(tmp_path: Path) -> None:
    write(
        tmp_path,
        "kinds.py",
        """
        import numpy as np
        from torch import nn
        from lossbench.components.declarations import Parameter
        from lossbench.registry import activation, metric

        def spiral(seed, *, samples: int = 5):
            return np.zeros((samples, 2)), np.arange(samples) % 3

        def table():
            return [[1.0], [2.0]], [0.5, 1.5]

        def nothing(seed):
            return 3

        class Net(nn.Module):
            def __init__(self, inputs, outputs, *, width: int = 4):
                super().__init__()
                self.width = (inputs, outputs, width)

        @activation(parameters={"slope": Parameter(0.5, per="channel")})
        def bent(x, *, slope, power: float = 1.0):
            return x

        def score(prediction, target):
            return 0.0
        """,
    )
    data: Data = plugins.load("kinds.py:spiral", "dataset", tmp_path).function(0, samples=7)
    assert (data.target.kind, data.target.size) == ("class", 3)
    assert data.samples is not None
    assert data.samples.inputs.dtype == np.float32
    assert data.samples.targets.shape == (7,)
    real = plugins.load("kinds.py:table", "dataset", tmp_path).function(0)
    assert (real.target.kind, real.samples.targets.shape) == ("real", (2, 1))
    with pytest.raises(UsageError, match="must return"):
        plugins.load("kinds.py:nothing", "dataset", tmp_path).function(0)
    network = plugins.load("kinds.py:Net", "network", tmp_path)
    assert [knob.name for knob in network.knobs] == ["width"]
    assert network.function((2,), 3, None, width=5).width == ((2,), 3, 5)
    bent = plugins.outline("kinds.py:bent", "activation", tmp_path)
    assert [knob.name for knob in bent.knobs] == ["power"]
    assert bent.facts.parameters["slope"].per == "channel"
    with pytest.raises(UsageError, match="must say what it is for") as caught:
        plugins.outline("kinds.py:score", "metric", tmp_path)
    assert "decorate" in str(caught.value.hint)
    with pytest.raises(UsageError, match="declared as activation, not as loss"):
        plugins.outline("kinds.py:bent", "loss", tmp_path)
    with pytest.raises(UsageError, match="is a class"):
        plugins.outline("kinds.py:Net", "dataset", tmp_path)


def test_what_the_program_fills_in_is_no_knob(tmp_path: Path) -> None:
    """State, learned parameters, the player and noise: no config may give them."""
    (tmp_path / "own.py").write_text(
        """
from lossbench.components.declarations import Parameter
from lossbench.registry import activation, loss

@loss(
    target="zero_one",
    state={"counts": lambda outputs, **_: outputs},
    parameters={"weight": Parameter(shape=lambda outputs, **_: (outputs,))},
)
def counted(prediction, target, *, counts, weight, gamma: float = 2.0): ...

@loss(inputs={"d_real": "real", "d_fake": "real"}, parts=("discriminator", "generator"))
def game(d_real, d_fake, *, part: str, c: float = 1.0): ...

@activation(noise="uniform")
def noisy(x, *, uniform=None, spread: float = 1.0): ...
"""
    )
    for name, kind, knob in (
        ("counted", "loss", "gamma"), ("game", "loss", "c"), ("noisy", "activation", "spread"),
    ):  # fmt: skip
        for read in (plugins.outline, plugins.load):
            assert [k.name for k in read(f"own.py:{name}", kind, tmp_path).knobs] == [knob]
