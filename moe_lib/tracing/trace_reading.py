"""A text out of a trace, without the model that read it: its tokens and their experts."""

from dataclasses import replace

from moe_lib.errors import require
from moe_lib.tracing.reading import Reading
from moe_lib.tracing.token_labels import token_label
from moe_lib.tracing.trace import UNKNOWN_TOKEN, RoutingTrace
from moe_lib.tracing.trace_files import check_trace
from moe_lib.validation import Count, Natural, checked


@checked
def read_trace(
    trace: RoutingTrace, tokenizer=None, row: Natural = 0, max_tokens: Count = 512
) -> Reading:
    """Text number `row` of a trace as a Reading without predictions: these need the model.

    tokenizer   names the tokens; None: they are called by their ids, "#17", or by their place,
                "token 3", where the trace does not know the ids
    max_tokens  a longer text is cut

    Padding is left out. Raises ValueError for a row that is not there, and a trace without layers,
    or one that does not fit together.
    """
    rows = len(trace.input_ids)
    require(row < rows, "row", row, f"below {rows}, the texts of the trace")
    require(len(trace.layers) > 0, "trace", "no layers", "a trace with layers")
    check_trace(trace)
    named = tokenizer is None or callable(getattr(tokenizer, "convert_ids_to_tokens", None))
    wants = "a tokenizer with decode and convert_ids_to_tokens, or None"
    require(named, "tokenizer", type(tokenizer).__name__, wants, TypeError)
    places = trace.real[row].nonzero()[:, 0]
    shown = places[:max_tokens]
    one = replace(
        trace,
        layers=[_columns(layer, row, shown) for layer in trace.layers],
        input_ids=trace.input_ids[row : row + 1, shown],
        real=trace.real[row : row + 1, shown],
        domains=None if trace.domains is None else (trace.domains[row],),
        attention_layers=tuple(_columns(part, row, shown) for part in trace.attention_layers),
    )
    ids = one.input_ids[0].tolist()
    labels = tuple(_label(tokenizer, token, place) for place, token in enumerate(ids))
    known = tokenizer is not None and UNKNOWN_TOKEN not in ids
    text = tokenizer.decode(ids) if known else " ".join(labels)
    left = len(places) - len(shown)
    return Reading(text, labels, labels, one, (), None, left, True, 0.0, {})


def _columns(layer, row: int, columns):
    parts = {name: part[row : row + 1, columns] for name, part in layer.tensors().items()}
    return replace(layer, **parts)


def _label(tokenizer, token: int, place: int) -> str:
    if token == UNKNOWN_TOKEN:
        return f"token {place}"
    return f"#{token}" if tokenizer is None else token_label(tokenizer, token)
