"""How the house is built, as a test: who may import whom, and what starting up may load.

The tables are DESIGN.md's (section 4) as data. A new file finds its place by the longest prefix of
its name; a part that no table knows fails until someone says where it stands.
"""

import ast
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "lossbench"
LONGEST_FILE = 400

KINDS = tuple(
    f"components.{folder.name}"
    for folder in sorted((ROOT / PACKAGE / "components").iterdir())
    if (folder / "__init__.py").exists()
)

# From the ground up. A part imports parts of lower floors and itself: no arrow runs upward, none
# across a floor.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "lazy", "_version", "components"),
    ("components.vocabulary", "components.samples"),
    ("components.declarations",),
    ("components.rules",),
    ("components.boxes", "components.modules", "components.noise", "registry", "config.spec"),
    (*KINDS, "kernels", "training.events"),
    ("plugins",),
    ("config", "training", "rundir"),
    ("functional", "analysis"),
    ("checks", "evaluate", "session"),
    (PACKAGE,),
    ("views",),
    ("cli",),
    ("__main__",),
)

WORDS = frozenset(
    {"errors", "lazy", "registry"}
    | {f"components.{name}" for name in ("vocabulary", "samples", "declarations", "rules")}
    | {f"components.{name}" for name in ("boxes", "modules", "noise")}
)

# Where the floors say too little: a part that may import these and nothing else of lossbench.
ONLY: dict[str, frozenset[str]] = {
    **dict.fromkeys(KINDS, WORDS),
    "kernels": WORDS,
    "training": WORDS | {"kernels", "plugins", "config.spec", "training.events"},
    "analysis": frozenset({"errors", "lazy", "rundir"}),
    "views": WORDS | {"analysis", "evaluate", "rundir", "config", "training.events"},
    "rundir": frozenset({"errors", "lazy", "_version", "training.events"}),
    "config": WORDS | {"config.spec", "plugins"},
}

# Nobody else imports a file of a kind: the rest of the program reads declarations. One exception,
# which names no component: `predict` reads a user's file as the data sets read theirs.
NAMED_ONLY_BY_THEIR_OWN_KIND = frozenset(KINDS)
EXCEPTIONS = {("session", "components.datasets._inputs")}


@dataclass(frozen=True)
class Import:
    """One import of a file: the full dotted names it may mean, and where it stands."""

    line: int
    target: str
    inside_function: bool
    typing_only: bool
    lazy: bool


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    name: str
    path: Path
    imports: tuple[Import, ...]

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))


class Reader(ast.NodeVisitor):
    """Collects the imports of a file, with the lazy ones that are written as a string."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.found: list[Import] = []
        self.depth = 0
        self.typing = 0

    def add(self, node: ast.AST, target: str, *, lazy: bool = False) -> None:
        line = getattr(node, "lineno", 0)
        self.found.append(Import(line, target, self.depth > 0, self.typing > 0, lazy))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]  # noqa: N815

    def visit_If(self, node: ast.If) -> None:
        guarded = "TYPE_CHECKING" in ast.unparse(node.test)
        self.typing += guarded
        for part in node.body:
            self.visit(part)
        self.typing -= guarded
        for part in node.orelse:
            self.visit(part)

    def visit_Import(self, node: ast.Import) -> None:
        for name in node.names:
            self.add(node, name.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        origin = node.module or ""
        if node.level:
            above = self.package.split(".")[: len(self.package.split(".")) - node.level + 1]
            origin = ".".join([*above, origin]).rstrip(".")
        for name in node.names:
            self.add(node, f"{origin}.{name.name}")

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in ("LazyModule", "import_module", "__import__") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                self.add(node, first.value, lazy=True)
        self.generic_visit(node)


@cache
def modules() -> dict[str, Module]:
    """Read every file of the package."""
    found: dict[str, Module] = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        package = ".".join(parts[:-1])
        if parts[-1] == "__init__":
            parts.pop()
        name = ".".join(parts)
        reader = Reader(package)
        reader.visit(ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))
        found[name] = Module(name, path, tuple(reader.found))
    return found


def module_of(target: str) -> str | None:
    """Return the file of the package that a dotted name lies in; none for other packages."""
    while target not in modules():
        target, dot, _ = target.rpartition(".")
        if not dot:
            return None
    return target


def part_of(module: str) -> str:
    """Return the part of the tables that a file belongs to: the longest prefix of its name."""
    if module == PACKAGE:
        return PACKAGE
    name = module.removeprefix(f"{PACKAGE}.")
    known = {part for floor in FLOORS for part in floor}
    prefix = name
    while prefix not in known:
        prefix, dot, _ = prefix.rpartition(".")
        assert dot, f"{module} stands on no floor: say in FLOORS where it belongs"
    return prefix


def floor_of(part: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if part in floor)


def arrows() -> Iterator[tuple[Module, Import, str, str]]:
    """Yield every import of one part by another: the file, the import, the two parts."""
    for module in modules().values():
        source = part_of(module.name)
        for made in module.imports:
            target = module_of(made.target)
            if target is not None and part_of(target) != source:
                yield module, made, source, part_of(target)


def told(wrong: list[str], rule: str) -> None:
    assert not wrong, rule + "\n  " + "\n  ".join(wrong)


# --- who may import whom -----------------------------------------------------------------------


def test_every_file_stands_on_a_floor():
    for name in modules():
        part_of(name)


def test_no_arrow_runs_upward():
    wrong = [
        f"{module}:{made.line}: {source} imports {target}, which stands no lower"
        for module, made, source, target in arrows()
        if floor_of(target) >= floor_of(source)
    ]
    told(wrong, "a part imports only what stands on lower floors")


def test_parts_with_a_list_import_nothing_else():
    wrong = [
        f"{module}:{made.line}: {source} may not import {target}"
        for module, made, source, target in arrows()
        if source in ONLY and target not in ONLY[source] and target != "components"
    ]
    told(wrong, "these parts import only what ONLY lists")


def test_components_are_named_by_their_own_kind_only():
    wrong = [
        f"{module}:{made.line}: {source} names {made.target}"
        for module, made, source, target in arrows()
        if target in NAMED_ONLY_BY_THEIR_OWN_KIND
        and (source, (module_of(made.target) or "").removeprefix(f"{PACKAGE}.")) not in EXCEPTIONS
    ]
    told(wrong, "components are reached through the registry")


def test_there_is_no_import_cycle():
    graph: dict[str, set[str]] = {name: set() for name in modules()}
    for module in modules().values():
        for made in module.imports:
            if made.lazy or made.typing_only or made.inside_function:
                continue
            target = module_of(made.target)
            if target is None or target == module.name:
                continue
            # Importing a file runs the packages around it first.
            parents = target.split(".")
            around = {".".join(parents[:end]) for end in range(1, len(parents) + 1)}
            own = module.name.split(".")
            mine = {".".join(own[:end]) for end in range(1, len(own) + 1)}
            graph[module.name] |= around - mine
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail("an import cycle: " + " -> ".join(error.args[1]))


def test_imports_inside_functions_stand_in_the_command_line_only():
    wrong = [
        f"{module}:{made.line}: imports {made.target}"
        for module in modules().values()
        for made in module.imports
        if made.inside_function and not made.lazy and part_of(module.name) != "cli"
    ]
    told(wrong, "use lossbench.lazy, or import at the top")


FOREIGN = {
    "matplotlib": {"views.draw"},
    "rich": {"views", "cli"},
    "typer": {"cli"},
    "yaml": {"config"},
    "pydantic": {"config", "functional", "components.networks"},
    "sklearn": {"components.datasets"},
    "safetensors": {"rundir", "records", "storage"},
}
"""Packages that one part of the program keeps to itself."""


def is_below(module: str, part: str) -> bool:
    name = module.removeprefix(f"{PACKAGE}.")
    return name == part or name.startswith(f"{part}.")


@pytest.mark.parametrize("package", FOREIGN)
def test_a_package_is_imported_by_its_own_part_only(package):
    wrong = [
        f"{module}:{made.line}: imports {made.target}"
        for module in modules().values()
        for made in module.imports
        if made.target.split(".")[0] == package
        and not any(is_below(module.name, part) for part in FOREIGN[package])
    ]
    told(wrong, f"{package} is for {', '.join(sorted(FOREIGN[package]))}")


def test_analysis_does_without_torch():
    from_lazy = {f"{PACKAGE}.lazy.{name}" for name in ("torch", "F", "nn", "Tensor")}
    wrong = [
        f"{module}:{made.line}: imports {made.target}"
        for module in modules().values()
        for made in module.imports
        if part_of(module.name) == "analysis"
        and (made.target.split(".")[0] == "torch" or made.target in from_lazy)
    ]
    told(wrong, "a run directory is all that analysis reads")


def test_component_files_import_torch_lazily():
    wrong = [
        f"{module}:{made.line}: imports {made.target}"
        for module in modules().values()
        for made in module.imports
        if part_of(module.name) in KINDS
        and made.target.split(".")[0] in ("torch", "numpy", "sklearn", "scipy")
        and not (made.lazy or made.typing_only)
    ]
    told(wrong, "the catalogue must cost milliseconds: take them from lossbench.lazy")


def test_no_file_is_a_drawer_for_everything():
    wrong = [
        str(module)
        for module in modules().values()
        if module.path.stem.strip("_") in ("utils", "util", "helpers", "helper", "misc", "common")
    ]
    told(wrong, "a file is named after what it holds")


def test_no_file_is_longer_than_it_should_be():
    lengths = {
        str(module): len(module.path.read_text(encoding="utf-8").splitlines())
        for module in modules().values()
    }
    wrong = [f"{name}: {length}" for name, length in lengths.items() if length > LONGEST_FILE]
    told(wrong, f"a file above {LONGEST_FILE} lines wants to be two things")


# --- the reader of imports reads right ---------------------------------------------------------


def test_the_reader_sees_every_kind_of_import():
    source = (
        "import os\n"
        "from lossbench import errors\n"
        "from . import sibling\n"
        "from .sibling import thing\n"
        "if TYPE_CHECKING:\n"
        "    import torch\n"
        "else:\n"
        "    import numpy\n"
        "lazy = LazyModule('lossbench.session.actions')\n"
        "def f():\n"
        "    import json\n"
        "    class A:\n"
        "        import csv\n"
    )
    reader = Reader("lossbench.config")
    reader.visit(ast.parse(source))
    seen = {
        made.target: (made.inside_function, made.typing_only, made.lazy) for made in reader.found
    }
    assert seen == {
        "os": (False, False, False),
        "lossbench.errors": (False, False, False),
        "lossbench.config.sibling": (False, False, False),
        "lossbench.config.sibling.thing": (False, False, False),
        "torch": (False, True, False),
        "numpy": (False, False, False),
        "lossbench.session.actions": (False, False, True),
        "json": (True, False, False),
        "csv": (True, False, False),
    }


# --- what starting up loads --------------------------------------------------------------------

HEAVY = ("torch", "matplotlib", "sklearn", "scipy", "pandas")

CONFIG = """
dataset: {name: sine}
network: {name: mlp, hidden: [4]}
loss: mse
optimizer: {name: sgd, lr: 0.1}
"""

# What a user types, by the command it begins with; `{config}` is a valid file.
INVOCATIONS = (
    ["--help"],
    ["--version"],
    ["list"],
    ["list", "losses", "--json"],
    ["show", "mse"],
    ["validate", "{config}"],
    ["schema"],
    ["init", "new.yaml"],
    ["runs"],
    ["runs", "ls"],
)


def fresh(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own, whose last line on stdout tells what it loaded."""
    ending = f"\nprint('\\n' + json.dumps([m for m in {HEAVY!r} if m in sys.modules]))\n"
    start = f"import json, sys\nsys.path.insert(0, {str(ROOT)!r})\n"
    return subprocess.run(
        [sys.executable, "-c", start + code + ending, *arguments],
        cwd=cwd, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def loaded(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


@cache
def commands() -> tuple[tuple[str, ...], ...]:
    """Return every command the application has, as the words one types; none before it exists."""
    if f"{PACKAGE}.cli.main" not in modules():
        return ()
    code = (
        "import lossbench.cli.main\n"
        "from lossbench.cli.app import app\n"
        "from typer.main import get_command\n"
        "def walk(command, path):\n"
        "    below = getattr(command, 'commands', None) or {}\n"
        "    if path: print(json.dumps(path))\n"
        "    for name, inner in below.items(): walk(inner, [*path, name])\n"
        "walk(get_command(app), [])\n"
    )
    done = fresh(code, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return tuple(tuple(line) for line in lines[:-1])


RUN = (
    "from lossbench.__main__ import main\n"
    "try:\n"
    "    main()\n"
    "except SystemExit as end:\n"
    "    assert not end.code, end.code\n"
)


@pytest.mark.parametrize("words", INVOCATIONS, ids=" ".join)
def test_a_light_command_loads_nothing_heavy(words, tmp_path):
    if not words[0].startswith("-") and (words[0],) not in commands():
        pytest.skip(f"there is no command '{words[0]}' yet")
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    arguments = [str(config) if word == "{config}" else word for word in words]
    assert loaded(fresh(RUN, *arguments, cwd=tmp_path)) == []


def test_the_help_of_every_command_loads_nothing_heavy(tmp_path):
    if not commands():
        pytest.skip("there is no command line yet")
    code = (
        "from lossbench.__main__ import main\n"
        f"for words in {[list(words) for words in commands()]!r}:\n"
        "    sys.argv = ['lossbench', *words, '--help']\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as end:\n"
        "        assert not end.code, (words, end.code)\n"
    )
    assert loaded(fresh(code, cwd=tmp_path)) == []


def test_the_whole_catalogue_and_the_package_load_nothing_heavy(tmp_path):
    code = (
        "import lossbench\n"
        "from lossbench.registry import KINDS\n"
        "count = sum(len(registry) for registry in KINDS.values())\n"
        "assert count > 20, count\n"
    )
    assert loaded(fresh(code, cwd=tmp_path)) == []
