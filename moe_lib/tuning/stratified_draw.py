"""Few labels: a seeded draw of examples in which every class keeps its share."""

import torch

from moe_lib.errors import require, require_whole
from moe_lib.text.order import seeded_generator
from moe_lib.tuning.examples import Encoded
from moe_lib.validation import Seed, checked

_DRAW = 3  # the purpose of a stream of random numbers, as in moe_lib.text.batching


@checked
def examples_of(encoded: Encoded) -> int:
    """Labelled examples: rows; questions, where each has several windows."""
    return len(_groups(encoded))


@checked
def draw_examples(encoded: Encoded, n: int, *, seed: Seed = 0) -> Encoded:
    """n examples, each class with its share (to about one example); questions with all their
    windows.

    One order per seed, cut after n: the draw of 100 is part of the draw of 300 with the same seed.
    A class is the row's label; for questions, whether there is an answer; token by token there are
    none. Raises ValueError or TypeError if n is no whole number from 1 to the number of examples.
    """
    groups = _groups(encoded)
    require_whole("n", n)
    require(n <= len(groups), "n", n, f"at most {len(groups)}, all there are")
    members: dict = {}
    for index, rows in enumerate(groups):
        members.setdefault(_class(rows, encoded), []).append(index)
    generator = seeded_generator(seed, _DRAW, 0)
    # member i of m in its class stands at (i + chance) / m of the way: any beginning has all shares
    places = []
    for group in members.values():
        order = torch.randperm(len(group), generator=generator).tolist()
        chance = torch.rand(len(group), generator=generator).tolist()
        places += [((i + chance[i]) / len(group), group[which]) for i, which in enumerate(order)]
    return encoded.select([row for _, index in sorted(places)[:n] for row in groups[index]])


def _groups(encoded: Encoded) -> list[list[int]]:
    """The rows of each example."""
    groups: dict[int, list[int]] = {}
    for index, row in enumerate(encoded.rows):
        groups.setdefault(row.get("example", index), []).append(index)
    return list(groups.values())


def _class(rows: list[int], encoded: Encoded):
    labels = [encoded.rows[row].get("labels") for row in rows]
    if "example" in encoded.rows[rows[0]]:
        return any(label is not None and label[0] >= 0 for label in labels)
    return (
        labels[0] if isinstance(labels[0], int) and "choices" not in encoded.rows[rows[0]] else None
    )
