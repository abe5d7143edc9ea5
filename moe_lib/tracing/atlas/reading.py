"""Many texts through a model in parts. What was read is kept in a folder, so that an interrupted
run goes on, and so that only the experts of each token stay in memory."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from moe_lib.errors import require
from moe_lib.files import read_json, write_json
from moe_lib.tracing.capture import trace_routing
from moe_lib.tracing.joining import join_traces
from moe_lib.tracing.token_labels import cut_at_offsets, require_fast
from moe_lib.tracing.trace import LayerTrace, RoutingTrace
from moe_lib.tracing.trace_files import load_trace
from moe_lib.validation import Count, PathLike, checked

_PART = 32  # windows whose traces are kept in one file
_FORMAT = "moe_lib atlas, parts 1"


@dataclass(frozen=True)
class Window:
    """A stretch of a document that the model reads at once.

    pieces    the characters of each token; the window's text, if joined
    document  number of the document
    """

    ids: tuple[int, ...]
    pieces: tuple[str, ...]
    domain: str
    document: int


@dataclass(frozen=True)
class ReadTexts:
    """What an atlas is made of.

    trace      the routing of all windows, one a row, with their domains; experts alone
    windows    a Window per row
    """

    trace: RoutingTrace
    windows: tuple[Window, ...]

    @property
    def documents(self) -> torch.Tensor:
        """(batch,) int64, the document of each row."""
        return torch.tensor([window.document for window in self.windows])


@checked
def cut_windows(
    tokenizer,
    documents: Sequence[Mapping[str, str]],
    max_tokens: Count = 20_000,
    window: Count = 256,
) -> tuple[Window, ...]:
    """Cut documents, {"text": …, "domain": …} each, into windows of at most `window` tokens.

    Every domain gets the same share of `max_tokens`: the first window of every document, in order,
    then the second ones, as intervals need many documents. Special tokens are added at the start of
    a document where the tokenizer does that. Raises TypeError for a tokenizer that does not say
    where its tokens stand in a text, ValueError for no tokens at all.
    """
    require_fast(tokenizer)
    domains = sorted({document["domain"] for document in documents})
    budget = max(1, max_tokens // max(1, len(domains)))
    found: list[Window] = []
    for domain in domains:
        cut, tokens = [], 0  # the windows of each document
        for number, document in enumerate(documents):
            if document["domain"] == domain and tokens < budget:
                cut.append(_cut(tokenizer, document["text"], domain, number, budget, window))
                tokens += sum(len(one.ids) for one in cut[-1][:1])
        found += _shortened(cut, budget)
    found.sort(key=lambda one: one.document)  # keeps the order within each
    require(bool(found), "documents", f"{len(documents)} without a token", "texts with tokens")
    return tuple(found)


def _cut(tokenizer, text: str, domain: str, number: int, most: int, window: int) -> list[Window]:
    short = text[: 40 * most]  # no token is longer on average
    encoded = tokenizer(short, return_offsets_mapping=True, verbose=False)
    ids = encoded["input_ids"][:most]
    offsets = encoded["offset_mapping"][: len(ids)]
    pieces, _ = cut_at_offsets(short, offsets, tokenizer.convert_ids_to_tokens(ids))
    parts = [slice(start, start + window) for start in range(0, len(ids), window)]
    return [Window(tuple(ids[part]), pieces[part], domain, number) for part in parts]


def _shortened(documents: list[list[Window]], budget: int) -> list[Window]:
    """The first windows of all documents, then the second ones …, `budget` tokens in all."""
    found = []
    for turn in range(max(map(len, documents), default=0)):
        for windows in documents:
            if turn < len(windows) and budget > 0:
                one = windows[turn]
                found.append(replace(one, ids=one.ids[:budget], pieces=one.pieces[:budget]))
                budget -= len(found[-1].ids)
    return found


@checked
def read_windows(
    model: nn.Module,
    windows: Sequence[Window],
    folder: PathLike | None = None,
    name: str = "",
    progress: Callable = iter,
) -> ReadTexts:
    """Let `model` read the windows, one after the other, and keep who was sent where.

    folder    where the parts that are done are kept: the next call with the same `name` and windows
              goes on behind them; None: nothing is kept. A folder of another run is refused
    name      says which model it is, for that
    progress  wraps the parts as they are gone through, e.g. `tqdm`

    A window is read by itself: its tokens see nothing before it. Raises what `trace_routing`
    raises, and ValueError for a folder that holds something else.
    """
    require(len(windows) > 0, "windows", "none", "at least one")
    parts = [windows[start : start + _PART] for start in range(0, len(windows), _PART)]
    kept = None if folder is None else _opened(Path(folder), name, windows)
    traces = []
    for number, part in progress(list(enumerate(parts))):
        path = None if kept is None else kept / f"part-{number:05}.safetensors"
        trace = None if path is None else _kept(path, part)
        if trace is None:
            trace = join_traces([_read(model, window) for window in part])
            if path is not None:
                trace.save(path)
        traces.append(trace)
    return ReadTexts(join_traces(traces), tuple(windows))


def _read(model: nn.Module, window: Window) -> RoutingTrace:
    trace = trace_routing(model, torch.tensor([window.ids]))
    layers = [_experts_alone(layer) for layer in trace.layers]
    return replace(trace, layers=layers, domains=(window.domain,), attention_layers=())


def _experts_alone(layer: LayerTrace) -> LayerTrace:
    return replace(layer, weights=None, scores=None, kept=None)


def _opened(folder: Path, name: str, windows: Sequence[Window]) -> Path:
    """The folder of parts, begun or gone on with."""
    digest = hashlib.sha256(json.dumps([window.ids for window in windows]).encode()).hexdigest()
    plan = {"format": _FORMAT, "model": name, "windows": digest}
    path = folder / "plan.json"
    if not folder.exists():
        folder.mkdir(parents=True)
        write_json(path, plan)
    there = read_json(path) if path.is_file() else {}
    wants = "that of the same model and texts; delete it to begin anew"
    require(there == plan, str(folder), "the parts of another run", wants)
    return folder


def _kept(path: Path, windows: Sequence[Window]) -> RoutingTrace | None:
    """A part that was read before; None if there is none, or if it was damaged."""
    if not path.is_file():
        return None
    try:
        trace = load_trace(path)
    except ValueError:
        return None
    rows = [
        tuple(ids[real].tolist()) for ids, real in zip(trace.input_ids, trace.real, strict=True)
    ]
    return trace if rows == [window.ids for window in windows] else None
