"""check, eval, new, list, show and the pictures of components, from the command line."""

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lossbench.cli.main import run
from lossbench.errors import nearest

Call = Callable[..., Any]


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def document(self) -> Any:
        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        return json.loads(self.out, parse_constant=refuse)


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)

    def made(*arguments: str, stdin: str | None = None) -> Result:
        if stdin is not None:
            monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capsys.readouterr()
        code = run(list(arguments))
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Result(code, said.out, said.err)

    return made


# --- eval -------------------------------------------------------------------------------------


def test_eval_gives_value_and_gradient(call: Call) -> None:
    found = call("eval", "huber", "--input", "[0.2, 3]", "--target", "[0, 0]", "--json").document
    assert found["value"] == pytest.approx([0.02, 2.5])
    assert found["gradient"]["prediction"] == pytest.approx([0.2, 1.0])


def test_eval_takes_knobs_under_the_names_people_use(call: Call) -> None:
    found = call(
        "eval", "huber_loss", "-i", "[1, 2]", "-t", "[4, 5]", "--set", "d=0.5", "--json"
    ).document
    assert found["value"] == pytest.approx([1.375, 1.375])
    assert found["gradient"]["prediction"] == pytest.approx([-0.5, -0.5])


def test_eval_reduces_as_torch_does(call: Call) -> None:
    arguments = ("eval", "mse", "-i", "[1, 3]", "-t", "[0, 0]", "--json", "--reduction")
    assert call(*arguments, "mean").document["value"] == pytest.approx(5.0)
    assert call(*arguments, "sum").document["value"] == pytest.approx(10.0)
    assert call(*arguments, "mean").document["gradient"]["prediction"] == pytest.approx([1, 3])
    assert call(*arguments, "median").code == 2


def test_eval_shows_derivative_and_jacobian(call: Call) -> None:
    gelu = call("eval", "gelu", "-i", "[0]", "--json").document
    assert gelu["gradient"]["x"] == pytest.approx([0.5])
    p = np.array([0.09003057, 0.24472847, 0.66524096])
    softmax = call("eval", "softmax", "-i", "[1, 2, 3]", "--json").document
    assert softmax["value"] == pytest.approx(p.tolist())
    assert np.array(softmax["jacobian"]) == pytest.approx(np.diag(p) - np.outer(p, p), abs=1e-7)


def test_eval_reads_files_and_stdin(call: Call, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([1.0, 2.0]))
    (tmp_path / "y.json").write_text("[0, 0]")
    expected = [1.0, 4.0]
    assert call("eval", "mse", "-i", "x.npy", "-t", "y.json", "--json").document[
        "value"
    ] == pytest.approx(expected)
    both = '{"input": [1, 2], "target": [0, 0]}'
    assert call("eval", "mse", "-i", "-", "--json", stdin=both).document["value"] == pytest.approx(
        expected
    )


def test_eval_walks_optimizers_and_schedules(call: Call) -> None:
    steps = call(
        "eval", "sgd", "-i", "param=[1]", "-i", "grads=[[1], [1]]", "-s", "lr=0.1", "-s",
        "momentum=0.9", "--json",
    ).document  # fmt: skip
    assert np.ravel(steps["value"]) == pytest.approx([0.9, 0.71])
    rates = call(
        "eval", "StepLR", "-i", "base_lr=1", "-i", "steps=[0, 1, 2]", "-s", "step_size=2", "--json"
    ).document
    assert rates["value"] == pytest.approx([1, 1, 0.1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hubr", "-i", "[1]"], "did you mean huber"),
        (["huber", "-i", "[1]", "-t", "[1]", "-s", "detla=1"], "did you mean delta"),
        (["huber", "-i", "[1]", "-t", "[1]", "-s", "delta=-1"], "greater than 0, got -1"),
        (["huber", "-i", "[1, 2", "-t", "[1]"], "no JSON"),
        (["huber", "-i", "[[1], [2, 3]]", "-t", "[1]"], "no array of numbers"),
        (["huber", "-i", "[1, NaN]", "-t", "[1, 1]"], "not a number, at [1]"),
        (["huber", "-i", "[1, 2, 3]", "-t", "[1, 1]"], "prediction is [3], and the target [2]"),
        (["huber", "-i", "[1, 2]", "-t", "[1]"], "prediction is [2], and the target [1]"),
        (["huber", "-i", "[1]"], "target is missing"),
        (["huber"], "on which numbers"),
        (["huber", "-i", "nowhere.json", "-t", "[1]"], "neither JSON nor a file"),
        (["bce", "-i", "[1.5]", "-t", "[1]"], "prediction[0] is 1.5"),
        (["cross_entropy", "-i", "[[1, 2, 3]]", "-t", "[3]"], "there are 3 classes: 0 to 2"),
        (["hinge", "-i", "[0.5]", "-t", "[3]"], "-1 or 1"),
        (["iou", "-i", "[[0, 0, 0, 1]]", "-t", "[[0, 0, 1, 1]]"], "x1 < x2"),
        (["iou", "-i", "[[1, 0, 0, 1]]", "-t", "[[0, 0, 1, 1]]"], "x1 < x2"),
        (["supcon", "-i", "embeddings=[[1, 0], [0, 1]]", "-t", "[1, 1]"], "all 2 samples are"),
        (["digits", "-i", "[1]"], "no value on numbers alone"),
        (["relu", "-i", "[1]", "--reduction", "mean"], "a reduction is for losses"),
        (["minimax_gan", "-i", "d_real=[1]", "-i", "d_fake=[1]"], "say which part"),
    ],
)
def test_eval_refuses_with_the_reason(call: Call, arguments: list[str], words: str) -> None:
    found = call("eval", *arguments)
    assert found.code == 2
    assert words in found.err
    assert not found.out


def test_eval_says_where_an_empty_mask_decides_nothing(call: Call) -> None:
    found = call("eval", "dice", "-i", "[[[0.5, 1]]]", "-t", "[[[0, 0]]]")
    assert found.code == 0
    assert "mask is empty" in found.err


# --- check ------------------------------------------------------------------------------------


def test_check_names_kinds_and_files(call: Call) -> None:
    found = call("check", "huber", "relu", "--json").document
    assert found["passed"]
    assert {check["name"] for check in found["checks"]} == {"huber", "relu"}
    assert {check["contract"] for check in found["checks"]} >= {"gradient", "kernel", "trials"}


BAD = """
from lossbench.registry import loss

@loss(target="real", zero_at_target=True, symmetric=True)
def root(prediction, target):
    '''Root of the residual.'''
    return (prediction - target).abs() ** 0.5

def plain(prediction, target, *, delta: float = 1.0):
    return delta * (prediction - target) ** 2
"""


def test_check_says_what_is_wrong_with_a_loss_of_ones_own(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(BAD)
    found = call("check", "mine.py")
    assert found.code == 1
    assert "the gradient by prediction is NaN at prediction = 0.75 and target = 0.75 (r = 0)" in (
        found.out
    )
    assert "1 broken" in found.out or "2 broken" in found.out
    assert call("check", "mine.py:plain").code == 0
    assert call("check", "mine.py:plan").code == 2
    assert "did you mean plain" in call("check", "mine.py:plan").err


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return (prediction.detach() - target) ** 2", "no gradient reaches the prediction"),
        ("return (prediction != target).float()", "no gradient reaches the prediction"),
        (
            "return (prediction - target) ** 2 / (prediction.abs().max().item() + 1)",
            "it calls .item() or decides by a value",
        ),
        ("prediction -= target; return prediction**2", "it changes what it was given in place"),
        ("return prediction.nothing(target)", "in line 3 (return prediction.nothing(target))"),
        ("return None", "returned NoneType"),
    ],
)
def test_check_says_common_mistakes_in_words(
    call: Call, tmp_path: Path, body: str, words: str
) -> None:
    (tmp_path / "mine.py").write_text(f"def slip(prediction, target):\n    'A slip.'\n    {body}\n")
    found = call("check", "mine.py:slip", "--kind", "loss")
    assert found.code in (1, 2)
    assert words in " ".join((found.out + found.err).split())
    assert "RuntimeError" not in found.out
    assert "takes none" not in found.err


def test_a_name_that_begins_with_the_word_given_is_suggested() -> None:
    names = ("chained", "cosine_annealing", "cosine_with_warmup", "constant", "huber", "hub_of_all")
    assert nearest("cosine", names) == ["cosine_annealing", "cosine_with_warmup"]
    assert nearest("hubber", names)[0] == "huber"
    assert nearest("wholly_else", names) == []


def test_check_sees_a_sign_turned_round(call: Call, tmp_path: Path) -> None:
    text = "def turned(prediction, target):\n    return -((prediction - target) ** 2)\n"
    (tmp_path / "turned.py").write_text(text)
    found = call("check", "turned.py")
    assert found.code == 1
    assert "is the sign turned round?" in found.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hubber"], "did you mean huber"),
        (["digts"], "did you mean digits"),
        (["nowhere.py"], "there is no file"),
        (["--cases", "nowhere.json"], "cannot read"),
        (["huber", "--cases", "x.json"], "names its components itself"),
        (["--strict"], "--strict goes with --cases"),
        (["huber", "problems"], "by themselves"),
    ],
)
def test_check_refuses_with_the_reason(call: Call, arguments: list[str], words: str) -> None:
    found = call("check", *arguments)
    assert found.code == 2
    assert words in found.err


# --- new --------------------------------------------------------------------------------------

TEMPLATES = (
    "activation", "dataset", "distance", "loss", "metric", "network", "optimizer",
    "schedule",
)  # fmt: skip


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_template_passes_its_check_and_trains(call: Call, tmp_path: Path, kind: str) -> None:
    made = call("new", kind, f"my_{kind}.py", "--json").document
    assert Path(made["written"][0]).name == f"my_{kind}.py"
    checked = call("check", f"my_{kind}.py")
    assert checked.code == 0, checked.out
    if kind != "distance":  # nothing in a config names one
        trained = call("train", f"my_{kind}.yaml", "train.epochs=1", "--json")
        assert trained.code == 0, trained.err


def test_a_template_overwrites_nothing(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("kept")
    found = call("new", "loss", "mine.py")
    assert found.code == 2
    assert "already there" in found.err
    assert (tmp_path / "mine.py").read_text() == "kept"
    assert not (tmp_path / "mine.yaml").exists()
    assert call("new", "loss", "mine.py", "--force").code == 0
    assert call("new", "los", "other.py").code == 2
    assert call("new", "loss", "other.txt").code == 2
    assert call("new", "loss", "1.py").code == 2


# --- list, show, plot -------------------------------------------------------------------------


def test_list_filters(call: Call) -> None:
    found = call("list", "losses", "--target", "class", "--search", "margin", "--json").document
    names = {component["name"] for component in found["components"]}
    assert {"hinge", "multi_margin"} <= names
    assert "mse" not in names
    everywhere = call("list", "--search", "Kingma", "--json").document
    assert "adam" in {component["name"] for component in everywhere["components"]}
    assert call("list", "losses", "--target", "clas").code == 2
    assert "did you mean class" in call("list", "losses", "--target", "clas").err
    assert call("list", "activations", "--target", "class").code == 2


def test_show_draws_in_the_terminal(call: Call) -> None:
    drawn = call("show", "relu", "--plot").out
    assert any(0x2800 < ord(character) <= 0x28FF for character in drawn)
    assert "no plot" in call("show", "supcon", "--plot").err


def _png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:24])
    return width, height


@pytest.mark.parametrize(
    "arguments",
    [
        ["activations"],
        ["losses"],
        ["schedules"],
        ["activations", "relu", "gelu", "--together"],
        ["activations", "softmax"],
        ["losses", "focal", "--set", "gamma=0,0.5,1,2,5"],
        ["schedules", "step", "--set", "gamma=0.5,0.9", "--steps", "40"],
    ],
)
def test_pictures_of_components(call: Call, tmp_path: Path, arguments: list[str]) -> None:
    found = call("plot", *arguments, "-o", "out.png", "--json")
    assert found.code == 0, found.err
    assert found.document["panels"] >= 1
    width, height = _png_size(tmp_path / "out.png")
    assert width > 600
    assert height > 300


def test_a_picture_is_a_vector_drawing_where_asked_for(call: Call, tmp_path: Path) -> None:
    assert call("plot", "losses", "huber", "-o", "out.svg").code == 0
    first = (tmp_path / "out.svg").read_bytes()
    assert call("plot", "losses", "huber", "-o", "out.svg").code == 0
    assert (tmp_path / "out.svg").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["losses", "hubr"], "did you mean huber"),
        (["losses", "supcon"], "supcon"),
        (["losses", "--set", "gamma=1"], "which losses"),
        (["losses", "huber", "--set", "gamma"], "KNOB=VALUE"),
        (["losses", "huber", "-o", "out.bmp"], "picture format"),
        (["activations", "softmax", "relu", "--together"], "Jacobian"),
        (["schedules", "reduce_on_plateau"], "watches a metric"),
    ],
)
def test_pictures_refused_with_the_reason(call: Call, arguments: list[str], words: str) -> None:
    found = call("plot", *arguments)
    assert found.code == 2
    assert words in found.err
