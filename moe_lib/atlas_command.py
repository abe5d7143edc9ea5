"""`python -m moe_lib atlas MODEL`: one page that says what every expert of a model takes."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from moe_lib.console import Parser, one_text, page, whole
from moe_lib.errors import require
from moe_lib.opening import check_openable, open_model
from moe_lib.paths import DATA

if TYPE_CHECKING:
    from torch import Tensor

    from moe_lib.tracing.atlas import ReadTexts, Window

_ABLATED = 32  # windows that importance is measured on


def add_atlas(verbs) -> None:
    """The verb and its arguments, for `python -m moe_lib`."""
    sub: Parser = verbs.add_parser("atlas", help="write what every expert takes as one HTML page")
    sub.add_argument(
        "model", type=one_text, help="a checkpoint of the course, a folder, or a model of the Hub"
    )
    sub.add_argument(
        "--texts",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="files (.txt, .jsonl, .csv, .parquet …) or folders, each part of which is a domain; "
        "default: the course's corpora",
    )
    sub.add_argument("--out", type=page, default="atlas.html", metavar="PAGE", help="atlas.html")
    sub.add_argument("--max-tokens", type=whole(1), default=20_000, metavar="N", help="20000")
    sub.add_argument(
        "--window", type=whole(1), default=256, metavar="N", help="tokens at once: 256"
    )
    sub.add_argument(
        "--importance", action="store_true", help="switch each expert off, and measure the loss"
    )
    sub.add_argument(
        "--checkpoints",
        type=one_text,
        nargs="+",
        default=(),
        metavar="MODEL",
        help="earlier states of the model, to see when its choices were made",
    )
    sub.add_argument("--trust-remote-code", action="store_true", help="let the model run code")


def atlas(
    model: str,
    out: Path,
    texts: list[Path] | None = None,
    max_tokens: int = 20_000,
    window: int = 256,
    importance: bool = False,
    checkpoints: tuple[str, ...] = (),
    trust_remote_code: bool = False,
) -> str:
    """Read the texts, count, and write the page; returns what happened, in words.

    What was read is kept in the folder OUT.parts until the page is written: an interrupted call,
    made again, goes on.
    """
    from tqdm import tqdm

    from moe_lib.tracing.atlas import atlas_of, cut_windows, read_windows
    from moe_lib.views.atlas import write_atlas

    for one in (model, *checkpoints):
        check_openable(one)
    documents = _documents(texts)
    opened, tokenizer = open_model(model, trust_remote_code)
    windows = cut_windows(tokenizer, documents, max_tokens, window)
    parts = Path(f"{out}.parts")

    def read(which, name: str, place: str):
        def bar(steps):
            return tqdm(steps, desc=f"Reading, {name}", unit="part")

        return read_windows(which, windows, parts / place, _identity(name), bar)

    found = read(opened, model, "model")
    rises = _importance(opened, windows, tqdm) if importance else None
    earlier = [
        read(open_model(one, trust_remote_code)[0], one, f"checkpoint-{number}")
        for number, one in enumerate(checkpoints)
    ]
    made = atlas_of(
        found,
        importance=rises,
        saturation=_saturation([*earlier, found]) if earlier else None,
        checkpoints=checkpoints,
        progress=lambda layers: tqdm(layers, desc="Counting", unit="layer"),
    )
    name = Path(model).name if Path(model).is_dir() else model
    path = write_atlas(out, made, tokenizer, name)
    shutil.rmtree(parts)
    size = path.stat().st_size / 1e6
    return (
        f"{sum(made.domain_tokens)} tokens of {made.n_documents} documents, "
        f"{len(made.layers)} layers.\nWrote {path} ({size:.1f} MB): open it in any browser."
    )


def _documents(texts: list[Path] | None) -> list[dict]:
    """{"text", "domain"} of every document; a folder's parts are domains by their names."""
    from moe_lib.text.corpora.readers import FILE_TYPES, read_documents

    if texts is None:
        texts = [DATA / "corpora"]
        wants = "--texts PATH …: the course's corpora are not beside this package"
        require(texts[0].is_dir(), "--texts", None, wants)
    places = []
    for path in texts:
        inside = sorted(path.iterdir()) if path.is_dir() else []
        own = (path / "documents.jsonl").is_file()
        named = [
            part
            for part in inside
            if (part.is_dir() and not part.name.startswith((".", "_")))
            or (part.is_file() and part.suffix.lower() in FILE_TYPES)
        ]
        places += [path] if own or not path.is_dir() else named
    require(bool(places), "--texts", [str(path) for path in texts], "files or folders with texts")
    return [
        {"text": document["text"], "domain": document["domain"]}
        for place in places
        for document in read_documents(place)
    ]


def _identity(model: str) -> str:
    """A model's name, and the sizes and dates of its files: another model has another."""
    folder = check_openable(model)[0]
    if folder is None:
        return model
    files = sorted(path for path in folder.glob("*") if path.is_file())
    facts = [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return "\n".join([model, *facts])


def _importance(model, windows: "tuple[Window, ...]", tqdm) -> "dict[int, Tensor]":
    """{layer: (E,) nats per token by which the loss rises without each expert}."""
    import torch
    import torch.nn.functional as F

    from moe_lib.tracing import trace_routing
    from moe_lib.tracing.analysis.importance import rises_without, text_losses

    step = max(1, len(windows) // _ABLATED)
    few = [torch.tensor(one.ids) for one in windows[::step][:_ABLATED]]
    longest = max(len(ids) for ids in few)
    ids = torch.stack([F.pad(one, (0, longest - len(one))) for one in few])
    mask = torch.stack([(torch.arange(longest) < len(one)).long() for one in few])
    predicted = int(text_losses(model, ids, mask)[1].sum())
    layers = trace_routing(model, ids[:1, :1]).layers
    sets = [{one.index: [expert]} for one in layers for expert in range(one.n_experts)]

    def bar(steps):
        return tqdm(steps, desc="Without each expert", unit="expert")

    rises = rises_without(model, sets, ids, mask, progress=bar).sum(1) / max(1, predicted)
    sizes = [one.n_experts for one in layers]
    return dict(zip((one.index for one in layers), rises.split(sizes), strict=True))


def _saturation(reads: "list[ReadTexts]") -> dict[int, list[tuple[float, float]]]:
    from moe_lib.tracing.analysis.saturation import (
        saturation,
        saturation_by_chance,
        stack_experts,
    )

    experts = stack_experts([one.trace for one in reads])
    found, chance = saturation(experts), saturation_by_chance(experts)  # (checkpoints, layers)
    return {
        layer.index: [
            (float(found[number, place]), float(chance[number, place]))
            for number in range(len(reads) - 1)
        ]
        for place, layer in enumerate(reads[-1].trace.layers)
    }
