"""Without a notebook: python -m moe_lib explore MODEL_OR_FOLDER --text "…" --out page.html"""

import sys
from pathlib import Path

from moe_lib.console import Parser, one_text, page, run_command, text_file, whole
from moe_lib.opening import check_openable, open_model


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
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    return "\n".join([*filter(None, said), f"Wrote {path} ({size}): open it in any browser."])


def _name(model: str) -> str:
    return Path(model).name if Path(model).is_dir() else model


def _parser() -> Parser:
    parser = Parser(prog="python -m moe_lib", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    sub = verbs.add_parser("explore", help="write the routing explorer of a text as one HTML page")
    sub.add_argument(
        "model",
        type=one_text,
        help="a checkpoint of the course, a folder, or a model of the Hugging Face Hub",
    )
    texts = sub.add_mutually_exclusive_group(required=True)
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
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for; returns the exit code (2 for wrong arguments, by exit)."""

    def run() -> None:
        given = vars(_parser().parse_args(arguments))
        del given["verb"]
        for model in filter(None, (given["model"], given["compare_model"])):
            check_openable(model)  # before anything slow
        print(explore(**given))

    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
