"""The plan of the house: a room of the library imports only from those before it, and no modules
import each other."""

import ast
from pathlib import Path

import pytest

import moe_lib

ROOT = Path(moe_lib.__file__).parent
MAY_IMPORT = {
    "validation": set(),
    "text": set(),
    "model": set(),
    # Several processes: what they exchange, add up and cost. Training takes its steps with it;
    # whatever stands after training may start processes, and nothing before it knows of them.
    "parallel": {"model"},
    "training": {"text", "model", "parallel"},
    "fetching": {"text"},
    "tracing": {"model"},
    "compression": {"text", "model", "training", "tracing"},
    "interop": {"model"},
    # Requests, batches and caches around a model that is done. A service adds ports, not views.
    "serving": {"text", "model", "training", "tracing"},
    "tuning": {"text", "model", "training", "interop"},
    "views": {"text", "model", "parallel", "training", "tracing", "tuning"},
}
FOR_ALL = {"", "validation"}
# They hand out what the rooms make.
STARTERS = {"__init__", "__main__", "atlas_command", "coverage_command", "opening"}
# Beside traces, views take these records, and what places experts; BalanceDashboard alone holds
# what makes its records, a training to steer.
RECORDS = {
    "model.routing",
    "parallel.placement",
    "text.packing",
    "training.loop",
    "training.recorder",
    "tuning.comparison.results",
    "tuning.tried_text",
}
STEERED = {"training.cure_settings", "training.live"}
# A ModelConfig asks its router's class what it takes: the one late import against the stream.
ASKED = {"config": {"model.routers"}}
# One thing in several files, where a late import leads back: a record, its file format, and the
# doors through which one is made.
_DOORS = ("trace_files", "joining", "engines.arrays", "engines.vllm", "engines.sglang")
TWINS = tuple((f"tracing.{name}", "tracing.trace") for name in _DOORS)
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.rglob("*.py")
}


def imported(path: Path) -> set[str]:
    """Modules of the library that a file imports, late ones too, without those for type checkers;
    "" is moe_lib."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    ]
    hidden = {id(inner) for node in guarded for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in hidden or not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports by their whole names"
            names = [node.module, *(f"{node.module}.{name}" for name in names)]
        for name in names:
            if name.split(".")[0] == "moe_lib":
                found.add(name.removeprefix("moe_lib").removeprefix("."))
    return {
        name for name in found if name == "" or name in MODULES or f"{name}.__init__" in MODULES
    }


def room_of(module: str) -> str:
    return module.split(".")[0] if "." in module or f"{module}.__init__" in MODULES else ""


@pytest.mark.parametrize("room", ["", *MAY_IMPORT])
def test_a_room_imports_from_those_before_it(room):
    allowed = FOR_ALL | {room} | MAY_IMPORT.get(room, set())
    for module, path in MODULES.items():
        if room_of(module) == room and module not in STARTERS:
            others = imported(path) - ASKED.get(module, set())
            wrong = {name for name in others if room_of(name) not in allowed}
            assert not wrong, f"moe_lib.{module} imports {sorted(wrong)}"


def test_every_room_is_in_the_plan():
    assert {room_of(module) for module in MODULES} == {"", *MAY_IMPORT}


def test_views_know_traces_and_records_and_no_model():
    for module, path in MODULES.items():
        if room_of(module) == "views":
            other = {
                name
                for name in imported(path)
                if room_of(name) not in ("", "views", "tracing", "validation")
            }
            steers = module.startswith("views.balance_dashboard.")
            known = RECORDS | (STEERED if steers else set())
            rooms = {name.rsplit(".", depth)[0] for name in known for depth in (1, 2)}
            assert other <= known | rooms, f"moe_lib.{module} imports {sorted(other - known)}"


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: imported(path) & set(MODULES) for module, path in MODULES.items()}
    for first, second in TWINS:
        graph[first].discard(second)
    done, path = set(), []

    def visit(module):
        assert module not in path, f"a circle: {' -> '.join([*path[path.index(module) :], module])}"
        if module not in done:
            path.append(module)
            for other in sorted(graph[module]):
                visit(other)
            path.pop()
            done.add(module)

    for module in sorted(graph):
        visit(module)


def test_the_library_never_imports_the_course():
    for path in MODULES.values():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "moe_course"], path
