"""`python -m moe_lib coverage MODEL`: what an adapter or a quantisation touched."""

from pathlib import Path

from moe_lib.console import Parser, one_line, one_text, text_file, whole
from moe_lib.errors import require
from moe_lib.opening import check_openable, open_model
from moe_lib.validation import Count, checked


def add_coverage(verbs) -> None:
    """The verb and its arguments, for `python -m moe_lib`."""
    sub: Parser = verbs.add_parser("coverage", help="what peft adapted and what is quantised")
    sub.add_argument("model", type=one_text, help="a folder, or a model of the Hugging Face Hub")
    sub.add_argument("--adapter", type=Path, metavar="FOLDER", help="one of peft, for this model")
    sub.add_argument(
        "--base", type=one_text, metavar="MODEL", help="the model before it was quantised or tuned"
    )
    texts = sub.add_mutually_exclusive_group()
    texts.add_argument("--text", type=one_text, help="a text, to see what changed in its routing")
    texts.add_argument(
        "--text-file", type=text_file, dest="text", metavar="FILE", help="it, from a UTF-8 file"
    )
    sub.add_argument("--max-tokens", type=whole(1), default=512, metavar="N", help="default: 512")
    sub.add_argument("--trust-remote-code", action="store_true", help="let the model run code")


@checked
def coverage_command(
    model: str,
    adapter: Path | None = None,
    base: str | None = None,
    text: str | None = None,
    max_tokens: Count = 512,
    trust_remote_code: bool = False,
) -> str:
    """The table of `moe_lib.tracing.coverage.coverage` in words, and what changed in the routing of
    a text: against the model without the adapter, or against `base`.

    Raises ValueError for a text without adapter or base, or with both, and as `open_model` does.
    """
    from moe_lib.tracing import trace_routing
    from moe_lib.tracing.coverage import (
        changed_by_adapter,
        changed_choices,
        changed_words,
        coverage,
    )

    compared = (adapter is not None) + (base is not None)
    require(compared < 2, "--base", base, "either --adapter or --base")
    wants = "--adapter FOLDER or --base MODEL beside it, to compare the routing with"
    require(text is None or compared == 1, "--text", text, wants)
    for one in filter(None, (model, base)):
        check_openable(one)  # before anything slow
    if adapter is not None and not (adapter / "adapter_config.json").is_file():
        raise FileNotFoundError(f"{adapter / 'adapter_config.json'}: missing; wants peft's folder")
    opened, tokenizer = open_model(model, trust_remote_code)
    if adapter is not None:
        opened = _with_adapter(opened, adapter)
    found = coverage(opened)
    said = [found.frame().to_string(index=False), "", found.words()]
    if text is not None:
        import torch

        ids = torch.tensor([tokenizer(text, verbose=False)["input_ids"][:max_tokens]])
        require(ids.numel() > 0, "--text", text, "a text with tokens")
        if adapter is not None:
            table = changed_by_adapter(opened, ids)
        else:
            before = trace_routing(open_model(base, trust_remote_code)[0], ids)
            table = changed_choices(before, trace_routing(opened, ids))
        said += ["", table.round(3).to_string(index=False), "", changed_words(table)]
    return "\n".join(said)


def _with_adapter(model, folder: Path):
    """`model` inside a PeftModel. ValueError naming the folder for an adapter that does not fit."""
    try:
        from peft import PeftModel

        return PeftModel.from_pretrained(model, str(folder)).eval()
    except ImportError as error:
        raise ValueError(f"--adapter: needs the package peft ({one_line(error)})") from error
    except Exception as error:  # packages of others fail in ways of their own
        said = f"{type(error).__name__}: {one_line(error)}"
        raise ValueError(f"{folder}: an adapter that does not fit the model ({said})") from error
