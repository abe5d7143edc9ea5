"""Without a notebook: python -m moe_lib explore MODEL_OR_FOLDER --text "…" --out page.html"""

import sys
from pathlib import Path

from moe_lib.atlas_command import add_atlas, atlas
from moe_lib.console import Parser, new_folder, one_text, page, run_command, text_file, whole
from moe_lib.coverage_command import add_coverage, coverage_command
from moe_lib.errors import require
from moe_lib.opening import check_openable, open_model


def explore_trace(
    trace: Path,
    tokenizer: str | None,
    out: Path,
    max_tokens: int = 512,
    row: int = 0,
    n_layers: int | None = None,
    k: int | None = None,
    config: Path | None = None,
) -> str:
    """Write text number `row` of a trace, saved or returned by a serving engine, as one page."""
    from moe_lib.tracing import open_trace, read_trace
    from moe_lib.views.explorer.export import write_reading
    from moe_lib.views.explorer.words import cut_words, layer_words

    words = None if tokenizer is None else _tokenizer(tokenizer)
    found = open_trace(trace, n_layers=n_layers, k=k, config=config, tokenizer=words)
    reading = read_trace(found, words, row, max_tokens)
    out.parent.mkdir(parents=True, exist_ok=True)
    path = write_reading(out, reading, Path(trace).name)
    first = reading.trace.layers[0]
    said = [layer_words(reading, first, 1) if len(reading) else "", cut_words(reading)]
    texts = len(found.input_ids)
    said.append(f"Text {row} of {texts} in the trace." if texts > 1 else "")
    return "\n".join([*filter(None, said), _wrote(path)])


def _tokenizer(name_or_folder: str):
    from moe_lib.opening import open_tokenizer

    return open_tokenizer(name_or_folder)


def _wrote(path: Path) -> str:
    return f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB): open it in any browser."


def explore(
    model: str,
    text: str,
    out: Path,
    max_tokens: int = 512,
    trust_remote_code: bool = False,
    compare_text: str | None = None,
    compare_model: str | None = None,
) -> str:
    """Let a model read `text` and write its routing as one page; returns what happened, in words.

    compare_text, compare_model  a second text, or a second model for the same text, shown beside it
    """
    from moe_lib.views.explorer.export import write_readings
    from moe_lib.views.explorer.readings import Readings
    from moe_lib.views.explorer.words import comparison_words, cut_words, layer_words

    opened, tokenizer = open_model(model, trust_remote_code)
    others = (None, None) if compare_model is None else open_model(compare_model, trust_remote_code)
    names = (
        ("First text", "Second text")
        if compare_model is None
        else (_name(model), _name(compare_model))
    )
    readings = Readings(opened, tokenizer, max_tokens, *others, names)
    readings.read(text, compare_text, {}, None)
    reading, first = readings.reading, readings.reading.trace.layers[0]
    out.parent.mkdir(parents=True, exist_ok=True)
    path = write_readings(out, readings, " and ".join(names) if compare_model else _name(model))
    said = [layer_words(reading, first, 1) if len(reading) else "", cut_words(reading)]
    if readings.comparison is not None:
        said.append(comparison_words(readings.comparison, first.index, names, readings.two_models))
    return "\n".join([*filter(None, said), _wrote(path)])


def _name(model: str) -> str:
    return Path(model).name if Path(model).is_dir() else model


def _parser() -> Parser:
    parser = Parser(prog="python -m moe_lib", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    sub = verbs.add_parser("explore", help="write the routing explorer of a text as one HTML page")
    sub.add_argument(
        "model",
        type=one_text,
        nargs="?",
        help="a checkpoint of the course, a folder, or a model of the Hugging Face Hub",
    )
    texts = sub.add_mutually_exclusive_group()
    texts.add_argument("--text", type=one_text, help="what the model reads")
    texts.add_argument(
        "--text-file", type=text_file, dest="text", metavar="FILE", help="it, from a UTF-8 file"
    )
    other = sub.add_mutually_exclusive_group()
    other.add_argument(
        "--compare-text", type=one_text, metavar="TEXT", help="another text, to compare with"
    )
    other.add_argument(
        "--compare-model", type=one_text, metavar="MODEL", help="another one, for the same text"
    )
    sub.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="in the place of a model: a saved trace (.safetensors), or answers of vLLM or SGLang "
        "with their routing (.json, .jsonl)",
    )
    beside = sub.add_argument_group("beside --trace")
    beside.add_argument(
        "--tokenizer", type=one_text, metavar="MODEL", help="the model whose tokens they are"
    )
    beside.add_argument(
        "--config", type=Path, metavar="FOLDER", help="the model's, for the numbers of its layers"
    )
    beside.add_argument("--row", type=whole(0), metavar="N", help="which text, from 0; default: 0")
    beside.add_argument("--n-layers", type=whole(1), metavar="N", help="layers with experts")
    beside.add_argument("--k", type=whole(1), metavar="N", help="experts per token")
    sub.add_argument(
        "--out", type=page, default="page.html", metavar="PAGE", help="default: page.html"
    )
    sub.add_argument(
        "--max-tokens",
        type=whole(1),
        default=512,
        metavar="N",
        help="longer texts are cut; default: 512",
    )
    sub.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="let the model bring and run code of its own",
    )
    _add_traces(verbs)
    add_coverage(verbs)
    add_atlas(verbs)
    return parser


def _add_traces(verbs) -> None:
    traces = verbs.add_parser("traces", help="read routing that others have published")
    kinds = traces.add_subparsers(dest="format", required=True)
    sub = kinds.add_parser("esft", help="expert traces of DeepSeek-V2-Lite, by ESFT's authors")
    sub.add_argument("folder", type=Path, help="the repository deepseek-ai/ESFT, or a part of it")
    sub.add_argument(
        "--out", type=page, metavar="FILE", help="write loads and hit rates as JSON (minutes)"
    )
    sub.add_argument("--save", type=new_folder, metavar="FOLDER", help="write TASK.safetensors")
    slots = "experts per layer that the cache of the hit rates holds; default: 16"
    sub.add_argument("--num-slots", type=whole(1), default=16, metavar="N", help=slots)


_BESIDE_TRACE = ("tokenizer", "config", "row", "n_layers", "k")


def _check_together(trace: Path | None, given: dict, beside: dict) -> None:
    """A model with a text, or a trace: ValueError for what does not go together."""
    if trace is None:
        need = "MODEL and --text (or --text-file), or --trace FILE"
        require(given["model"] is not None, "MODEL", None, need)
        require(given["text"] is not None, "--text", None, need)
        for name, value in beside.items():
            option = f"--{name.replace('_', '-')}"
            require(value is None, option, value, "--trace FILE beside it")
        return
    for name in ("model", "text", "compare_text", "compare_model"):
        option = "MODEL" if name == "model" else f"--{name.replace('_', '-')}"
        require(given[name] is None, option, given[name], "no --trace beside it")


def _traces(format: str, **given) -> str:
    """`traces esft`: the one form that is read so far."""
    from moe_lib.tracing.traces_command import traces_esft

    return traces_esft(**given)


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for; returns the exit code (2 for wrong arguments, by exit)."""

    def run() -> None:
        given = vars(_parser().parse_args(arguments))
        others = {"atlas": atlas, "coverage": coverage_command, "traces": _traces}
        if (verb := given.pop("verb")) in others:
            print(others[verb](**given))
            return
        trace, beside = given.pop("trace"), {name: given.pop(name) for name in _BESIDE_TRACE}
        _check_together(trace, given, beside)
        if trace is not None:
            out = {name: given[name] for name in ("out", "max_tokens")}
            asked = {name: value for name, value in beside.items() if value is not None}
            print(explore_trace(trace, asked.pop("tokenizer", None), **out, **asked))
            return
        for model in filter(None, (given["model"], given["compare_model"])):
            check_openable(model)  # before anything slow
        print(explore(**given))

    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
