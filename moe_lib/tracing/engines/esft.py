"""Routing that others have published: the expert traces of DeepSeek-V2-Lite in the repository of
ESFT (Wang and others 2024, arXiv 2407.01906; github.com/deepseek-ai/ESFT).

`results/expert_scores/TASK/expert_weights_LAYER.txt` has a line per text: k expert numbers for
every token, one token after the other, two tabs, and as many weights. LAYER is the layer's number
in the model; there are no token ids.
"""

import re
from collections.abc import Collection
from pathlib import Path

import numpy as np

from moe_lib.errors import require, shown
from moe_lib.text_files import read_text
from moe_lib.tracing.trace import RoutingTrace
from moe_lib.validation import Count, Natural, PathLike, checked

# DeepSeek-V2-Lite (arXiv 2405.04434, appendix B.1)
N_EXPERTS, EXPERTS_PER_TOKEN, N_LAYERS = 64, 6, 27
_SCORES = Path("results/expert_scores")
_FILE = re.compile(r"expert_weights_(\d{1,4})\.txt")


@checked
def read_esft_traces(
    folder: PathLike,
    *,
    layers: Collection[Natural] | None = None,
    n_experts: Count = N_EXPERTS,
    num_experts_per_tok: Count = EXPERTS_PER_TOKEN,
    num_hidden_layers: Count = N_LAYERS,
) -> dict[str, RoutingTrace]:
    """Task -> its RoutingTrace: a text per line, weights (no scores), token ids unknown (-1); every
    text has its task's name as domain.

    folder  the repository, its results/expert_scores, or the folder of one task
    layers  read only these layers; None: all that are there
    the rest  sizes of the traced model: DeepSeek-V2-Lite's

    Experts come sorted by weight, largest first: the files have them in no order of rank. Raises
    FileNotFoundError for a folder without such files; ValueError naming the file and the line for
    one that is cut short or damaged, or that has other tokens than the same line of another layer.
    """
    sizes = n_experts, num_experts_per_tok, num_hidden_layers
    found = {task.name: _read_task(task, layers, sizes) for task in _tasks(Path(folder))}
    return found


def _tasks(folder: Path) -> list[Path]:
    for place in (folder, folder / _SCORES):
        if _files(place):
            return [place]
        inner = sorted(part for part in place.glob("*") if _files(part)) if place.is_dir() else []
        if inner:
            return inner
    wants = f"the repository deepseek-ai/ESFT, or a folder with {_SCORES / 'TASK'}/*.txt"
    raise FileNotFoundError(f"{folder}: no expert_weights_LAYER.txt there; wants {wants}")


def _files(folder: Path) -> dict[int, Path]:
    """Layer number -> its file."""
    if not folder.is_dir():
        return {}
    named = ((_FILE.fullmatch(path.name), path) for path in folder.iterdir())
    return dict(sorted((int(match[1]), path) for match, path in named if match))


def _read_task(task: Path, layers: Collection[int] | None, sizes: tuple) -> RoutingTrace:
    n_experts, k, n_layers = sizes
    files = _files(task)
    unknown = sorted(set(layers or ()) - set(files))
    require(not unknown, "layers", unknown, f"layers that {task} has: {list(files)}")
    chosen = {n: path for n, path in files.items() if layers is None or n in layers}
    require(bool(chosen), "layers", [], f"some of the layers that {task} has: {list(files)}")
    for number, path in chosen.items():
        require(number < n_layers, str(path), number, f"a layer from 0 to {n_layers - 1}")
    read = [_read_layer(path, n_experts, k) for path in chosen.values()]
    lengths = [[len(experts) for experts, _ in texts] for texts in read]
    for path, own in zip(chosen.values(), lengths, strict=True):
        _check_lengths(path, own, next(iter(chosen.values())), lengths[0])
    experts, weights = (
        [np.stack([texts[row][part] for texts in read], axis=1) for row in range(len(read[0]))]
        for part in (0, 1)
    )  # a list of (tokens, layers, k)
    trace = RoutingTrace.from_arrays(
        experts,
        weights=weights,
        n_experts=n_experts,
        layers=list(chosen),
        domains=[task.name] * len(experts),
    )
    return trace


def _check_lengths(path: Path, own: list[int], first: Path, there: list[int]) -> None:
    if own == there:
        return
    if len(own) != len(there):
        raise ValueError(f"{path}: has {len(own)} lines; wants {len(there)}, as {first.name} has")
    line = next(n for n, (one, other) in enumerate(zip(own, there, strict=True)) if one != other)
    wants = f"wants {there[line]}, as {first.name} has"
    raise ValueError(f"{path}: line {line + 1}: has {own[line]} tokens; {wants}")


def _read_layer(path: Path, n_experts: int, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(experts, weights), each (tokens, k), of every line."""
    lines = read_text(path).split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    if not lines:
        raise ValueError(f"{path}: is empty; wants a line per text")
    return [
        _read_line(f"{path}: line {n}", line, n_experts, k) for n, line in enumerate(lines, start=1)
    ]


def _read_line(where: str, line: str, n_experts: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    def demand(holds: bool, got: object, wants: str) -> None:
        if not holds:
            raise ValueError(f"{where}: got {shown(got)}; wants {wants}")

    parts = line.split("\t\t")
    demand(len(parts) == 2, line[:40], "expert numbers, two tabs, weights")
    try:
        experts = np.array([int(number) for number in parts[0].split("\t")])
        weights = np.array([float(number) for number in parts[1].split("\t")], dtype=np.float32)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{where}: {error}; wants numbers, one tab between two") from error
    whole = len(experts) == len(weights)
    demand(whole, f"{len(experts)} experts and {len(weights)} weights", "as many of both")
    demand(len(experts) % k == 0, f"{len(experts)} experts", f"{k} for every token")
    low, high = int(experts.min()), int(experts.max())
    demand(low >= 0 and high < n_experts, low if low < 0 else high, f"0 to {n_experts - 1}")
    fits = bool(np.isfinite(weights).all() and (weights >= 0).all())
    demand(fits, "a weight that is negative or no number", "weights of at least 0")
    experts, weights = experts.reshape(-1, k), weights.reshape(-1, k)
    twice = (np.diff(np.sort(experts, axis=1), axis=1) == 0).any(axis=1)
    token = int(twice.argmax())
    demand(not twice.any(), experts[token].tolist(), f"{k} different experts at token {token}")
    order = np.argsort(-weights, axis=1, kind="stable")
    return np.take_along_axis(experts, order, 1), np.take_along_axis(weights, order, 1)
