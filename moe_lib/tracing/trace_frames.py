"""A routing trace as a table of pandas: one row per choice."""

from typing import TYPE_CHECKING

import pandas as pd
import torch

if TYPE_CHECKING:
    from moe_lib.tracing.trace import LayerTrace, RoutingTrace


def frame_of(trace: "RoutingTrace", tokenizer=None) -> pd.DataFrame:
    """The table that `RoutingTrace.to_pandas` describes."""
    frames = [_layer_frame(trace, layer) for layer in trace.layers]
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    if trace.domains is not None:
        names = sorted(set(trace.domains))
        numbers = [names.index(domain) for domain in trace.domains]
        frame["domain"] = pd.Categorical.from_codes(
            [numbers[text] for text in frame["text"]], categories=names
        )
    if tokenizer is not None:
        tokens = {
            number: tokenizer.decode([number]) if number >= 0 else None
            for number in frame["token_id"].unique().tolist()
        }
        frame["token"] = frame["token_id"].map(tokens)
    return frame


def _layer_frame(trace: "RoutingTrace", layer: "LayerTrace") -> pd.DataFrame:
    text, position, column = layer.choices(trace.real).nonzero(as_tuple=True)
    place = (text, position, column)
    kept = torch.ones(len(text), dtype=torch.bool) if layer.kept is None else layer.kept[place]
    return pd.DataFrame(
        {
            "layer": layer.index,
            "name": layer.name,
            "text": text,
            "position": position,
            "token_id": trace.input_ids[text, position],
            "rank": column + 1,
            "expert": layer.experts[place],
            "weight": float("nan") if layer.weights is None else layer.weights[place].float(),
            "kept": kept,
        }
    )
