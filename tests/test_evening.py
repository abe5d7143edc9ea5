"""An evening: configuration, model and the cores of text and training are at most 3,000 lines, and
the model's files never look ahead."""

import ast
from pathlib import Path

import moe_lib

ROOT = Path(moe_lib.__file__).parent
# The heart in its reading order; routers/ stands between routing and experts, fast/ is not read.
HEART = (
    "layers rotary attention latent_attention routing routers experts moe balance block"
    " language_model cache generation"
).split()
# What a student must read to understand how a model learns. diagnosis, interrupt, state and
# checkpoints keep a run safe: without them it would learn the same.
CORES = {
    "text": ("tokenizer", "packing", "masking", "batching"),
    "training": ("loop", "step", "optimiser", "evaluation", "counts", "bias_update"),
}
MOST = 3000  # lines, as `ruff format` leaves them


def heart_files() -> list[Path]:
    return [*(ROOT / "model").glob("*.py")]


def evening() -> list[Path]:
    cores = [ROOT / room / f"{name}.py" for room, names in CORES.items() for name in names]
    return [*ROOT.glob("config*.py"), *heart_files(), *ROOT.glob("model/routers/*.py"), *cores]


def imported_at_once(path: Path) -> set[str]:
    """The modules of the model that a file imports when it is imported; not those inside functions,
    nor those for type checkers."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    start = "moe_lib.model."
    return {name.removeprefix(start).split(".")[0] for name in found if name.startswith(start)}


def test_the_heart_is_whole():
    names = {path.stem for path in heart_files()} - {"__init__"} | {"routers"}
    assert names == set(HEART), "a new file of the heart needs its place in the reading order"


def test_no_file_looks_ahead():
    for place, name in enumerate(HEART):
        folder, file = ROOT / "model" / name, ROOT / "model" / f"{name}.py"
        for path in folder.glob("*.py") if folder.is_dir() else [file]:
            ahead = imported_at_once(path) & set(HEART[place + 1 :])
            assert not ahead, f"{path.name} imports what is read later: {sorted(ahead)}"


def test_it_can_be_read_in_an_evening():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in evening()}
    assert len(lines) >= 30, "the list of files is out of date"
    together = {str(path.relative_to(ROOT)): count for path, count in lines.items()}
    assert sum(lines.values()) <= MOST, f"{sum(lines.values())} lines: {together}"
