"""What the page of an atlas is told, as JSON."""

from base64 import b64encode
from collections.abc import Callable

import torch
from torch import Tensor

from moe_lib.tracing.atlas import Atlas, AtlasLayer
from moe_lib.tracing.token_labels import visible


def atlas_payload(atlas: Atlas, name_of: Callable[[int], str], model: str) -> dict:
    """name_of says what a token id looks like. Shares are whole per-milles; null: not known."""
    tokens = {one.token for layer in atlas.layers for mine in layer.tokens for one in mine}
    rows = {one.row for layer in atlas.layers for mine in layer.passages for one in mine}
    windows = atlas.read.windows
    return {
        "model": model,
        "domains": list(atlas.domain_names),
        "domainTokens": list(atlas.domain_tokens),
        "documents": atlas.n_documents,
        "names": {str(token): name_of(token) for token in sorted(tokens)},
        "texts": {
            str(row): [windows[row].domain, list(windows[row].pieces)] for row in sorted(rows)
        },
        "checkpoints": list(atlas.checkpoints),
        "layers": [_layer(layer) for layer in atlas.layers],
    }


def _layer(layer: AtlasLayer) -> dict:
    mixed = layer.together_by_chance
    return {
        "index": layer.index,
        "experts": layer.n_experts,
        "k": layer.k,
        "load": _mille(layer.load),
        "domains": _shares(layer.domains),
        "positions": _shares(layer.positions),
        "tokens": [
            [[one.token, *map(_whole, (one.share, one.low, one.high)), one.count] for one in mine]
            for mine in layer.tokens
        ],
        "tokensByChance": [_whole(mine[0].by_chance) if mine else None for mine in layer.tokens],
        "together": _bytes(layer.together),
        "togetherByChance": None if mixed is None else _bytes(mixed),
        "passages": [
            [[one.row, one.start, _bits(one.taken)] for one in mine] for mine in layer.passages
        ],
        "passagesByChance": [
            _whole(mine[0].by_chance) if mine else None for mine in layer.passages
        ],
        "importance": None
        if layer.importance is None
        else [round(value, 5) for value in layer.importance.tolist()],
        "saturation": [list(map(_whole, pair)) for pair in layer.saturation],
    }


def _shares(shares) -> dict:
    low, high = shares.by_chance
    parts = {"share": shares.share, "low": shares.low, "high": shares.high}
    return {name: _mille(part) for name, part in parts.items()} | {
        "chanceLow": _mille(low),
        "chanceHigh": _mille(high),
    }


def _mille(table: Tensor) -> list:
    if table.dim() > 1:
        return [_mille(row) for row in table]
    return [_whole(value) for value in table.tolist()]


def _whole(value: float) -> int | None:
    return None if value != value else round(1000 * value)


def _bytes(table: Tensor) -> str:
    """(E, E) shares as one byte each, 255 for 1."""
    return b64encode((255 * table).round().to(torch.uint8).numpy().tobytes()).decode("ascii")


def _bits(taken: tuple[bool, ...]) -> str:
    return "".join("1" if one else "0" for one in taken)


def label(piece: str) -> str:
    """A token for the eye."""
    return visible(piece) if piece.strip() != piece or not piece else piece
