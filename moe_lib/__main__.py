"""Without a notebook: python -m moe_lib explore MODEL_OR_FOLDER --text "…" --out page.html"""

import argparse
import sys
from pathlib import Path


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
    from moe_lib.opening import open_model
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
    path = write_readings(out, readings, " and ".join(names) if compare_model else _name(model))
    said = [layer_words(reading, first, 1) if len(reading) else "", cut_words(reading)]
    if readings.comparison is not None:
        said.append(comparison_words(readings.comparison, first.index, names, readings.two_models))
    size = f"{path.stat().st_size / 1e6:.1f} MB"
    return "\n".join([*filter(None, said), f"Wrote {path} ({size}): open it in any browser."])


def _name(model: str) -> str:
    return Path(model).name if Path(model).is_dir() else model


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m moe_lib", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    sub = verbs.add_parser("explore", help="write the routing explorer of a text as one HTML page")
    sub.add_argument(
        "model", help="a checkpoint of the course, a folder, or a model of the Hugging Face Hub"
    )
    given_text = sub.add_mutually_exclusive_group(required=True)
    given_text.add_argument("--text", help="what the model reads")
    given_text.add_argument(
        "--text-file", type=Path, metavar="FILE", help="the same, from a UTF-8 file"
    )
    compared = sub.add_mutually_exclusive_group()
    compared.add_argument("--compare-text", metavar="TEXT", help="another text, to compare with")
    compared.add_argument(
        "--compare-model", metavar="MODEL", help="another model, to read the same text"
    )
    sub.add_argument(
        "--out", type=Path, default=Path("page.html"), metavar="PAGE", help="default: page.html"
    )
    sub.add_argument(
        "--max-tokens",
        type=int,
        default=512,
        metavar="N",
        help="longer texts are cut; default: 512",
    )
    sub.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="let the model bring and run code of its own",
    )
    given = parser.parse_args(arguments)
    try:
        text = (
            given.text if given.text_file is None else given.text_file.read_text(encoding="utf-8")
        )
        print(
            explore(
                given.model,
                text,
                given.out,
                given.max_tokens,
                given.trust_remote_code,
                given.compare_text,
                given.compare_model,
            )
        )
    except (ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
