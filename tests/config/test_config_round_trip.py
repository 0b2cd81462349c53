"""What is written reads back as the same, and an editor accepts what `load` accepts."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from config_strategies import TEXTS, configs, usable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lossbench.config.read import load, load_text
from lossbench.config.schema import json_schema
from lossbench.config.starter import starter
from lossbench.config.write import dump, dump_plain
from lossbench.config.yaml import parse
from lossbench.errors import ConfigError
from lossbench.registry import KINDS, registry_of

FILE = Path(__file__).absolute()
SLOW = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@SLOW
@given(configs(FILE))
def test_a_valid_config_survives_writing_and_reading(config: dict[str, Any]) -> None:
    spec = load(mapping=config).spec
    text = dump(spec)
    assert load_text(text).spec == spec
    assert dump(load_text(text).spec) == text


@SLOW
@given(configs(FILE))
def test_the_schema_accepts_what_load_accepts(config: dict[str, Any]) -> None:
    spec = load(mapping=config).spec
    VALIDATOR.validate(config)
    VALIDATOR.validate(_lists(parse(dump(spec)).plain()))


@settings(deadline=None, derandomize=True)
@given(st.dictionaries(TEXTS, PLAIN, max_size=5))
def test_plain_values_are_written_so_that_yaml_1_2_reads_the_same(value: dict[str, Any]) -> None:
    back = parse(dump_plain(value)).plain() if value else {}
    assert _typed(back) == _typed(value)


@pytest.mark.parametrize(
    "text", ["1e-3", "no", "yes", "off", "null", "~", "", ".5", "0x10", "1:30", "a: b", "# x", "*x"]
)
def test_text_that_looks_like_something_else_stays_text(text: str) -> None:
    assert parse(dump_plain({"a": [text]})).plain() == {"a": (text,)}


def _typed(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_typed(item) for item in value]
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    return type(value), value


def _lists(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_lists(item) for item in value]
    return {k: _lists(v) for k, v in value.items()} if isinstance(value, dict) else value


def test_the_schema_is_a_schema_and_json() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA, allow_nan=False)) == SCHEMA


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_with_its_knobs_is_in_the_schema(kind: str) -> None:
    for name, entry in registry_of(kind).items():
        block = SCHEMA["$defs"][f"{kind}.{name}"]
        assert {knob.name for knob in entry.knobs} <= set(block["properties"])
        assert block["description"] == entry.doc.summary


def test_every_component_that_yaml_can_name_loads_in_a_minimal_config() -> None:
    base = {"dataset": "cubic", "loss": "mse", "optimizer": "sgd"}
    for kind in ("optimizer", "activation", "network", "schedule"):
        for name, entry in KINDS[kind].items():
            if usable(kind, name) and not any(knob.required for knob in entry.knobs):
                brought = getattr(entry.facts, "brought", False)
                data = {"dataset": "surface", "loss": "value"} if brought else {}
                load(mapping=base | data | {kind: name})


@pytest.mark.parametrize(
    "wrong",
    [
        {"dataset": "cubic", "loss": "mse"},
        {"dataset": "cubic", "loss": "msee", "optimizer": "sgd"},
        {"dataset": "cubic", "loss": "mse", "optimizer": {"name": "sgd", "lrr": 1}},
        {"dataset": "cubic", "loss": "mse", "optimizer": {"name": "sgd", "lr": -1}},
        {"dataset": "cubic", "loss": "mse", "optimizer": "sgd", "train": {"epochs": 0}},
        {"dataset": "cubic", "loss": "mse", "optimizer": "sgd", "trian": {}},
    ],
)
def test_the_schema_refuses_what_an_editor_should_underline(wrong: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(wrong)
    with pytest.raises(ConfigError):
        load(mapping=wrong)


@pytest.mark.parametrize("loss", ["nn.MSELoss", "mse_loss", "MSELoss", "my_loss.py:Mine"])
def test_the_schema_accepts_torchs_spellings_and_references(loss: str) -> None:
    VALIDATOR.validate({"dataset": "cubic", "loss": loss, "optimizer": "sgd"})
    VALIDATOR.validate({"dataset": "cubic", "loss": {"name": loss}, "optimizer": "sgd"})


def test_the_starter_is_a_valid_config_with_a_line_for_editors() -> None:
    text = starter("my.schema.json")
    assert text.startswith("# yaml-language-server: $schema=my.schema.json\n")
    assert max(map(len, text.splitlines())) <= 100
    shown, bare = (
        load_text(text).spec,
        load_text("dataset: digits\nloss: cross_entropy\noptimizer: adam"),
    )
    assert shown.dataset == bare.spec.dataset
    assert (shown.optimizer, shown.train) == (bare.spec.optimizer, bare.spec.train)
    VALIDATOR.validate(_lists(parse(text).plain()))


def test_the_users_files_can_be_pointed_elsewhere(tmp_path: Path) -> None:
    own = tmp_path / "deep" / "mine.py"
    own.parent.mkdir()
    own.write_text("def loss(prediction, target, *, q: float = 2.0):\n    return prediction\n")
    table = tmp_path / "t.csv"
    table.write_text("a,b\n1,2\n")
    spec = load(
        mapping={
            "dataset": {"name": "csv", "path": str(table)},
            "loss": f"{own}:loss",
            "optimizer": "sgd",
        }
    ).spec
    assert load_text(dump(spec)).spec == spec  # from anywhere
    moved = dump(spec, files={own: "files/mine.py", table: "files/t.csv"}, header="Made by hand.")
    assert moved.startswith("# Made by hand.\n")
    for name in ("mine.py", "t.csv"):
        (tmp_path / "run" / "files").mkdir(parents=True, exist_ok=True)
        copied = own if name == "mine.py" else table
        (tmp_path / "run" / "files" / name).write_bytes(copied.read_bytes())
    resolved = tmp_path / "run" / "config.resolved.yaml"
    resolved.write_text(moved)
    again = load(resolved)
    assert again.files == (tmp_path / "run" / "files" / "mine.py",)
    assert again.spec.loss.name == spec.loss.name == "mine.py:loss"
    assert again.spec.loss.knobs == {"q": 2.0}
    assert again.spec.dataset.knobs["path"] == str(tmp_path / "run" / "files" / "t.csv")
