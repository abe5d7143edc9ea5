"""Open a model by name or folder: a checkpoint of the course, or a causal model of Hugging Face
transformers."""

import socket
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import getproxies

from moe_lib.errors import require
from moe_lib.files import read_json, read_shapes
from moe_lib.paths import CHECKPOINTS
from moe_lib.validation import PathLike, checked

_UNSAFE = (
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".pkl",
    ".pickle",
)  # formats that may run code while they are read


@checked
def open_model(name_or_folder: PathLike, trust_remote_code: bool = False) -> tuple:
    """(model, tokenizer), the model in eval mode on the CPU.

    name_or_folder     a name of data/checkpoints/; a folder written by save_checkpoint or by
                       transformers; or the name of a model on the Hugging Face Hub
                       ("organisation/model"), which needs the network once
    trust_remote_code  let a model bring its own Python code and run it. Off: only the classes of
                       the installed transformers are used. Weights are read from safetensors files
                       only, either way.

    Raises FileNotFoundError for what is not there or cannot be fetched, ValueError for a folder
    that is damaged, holds no safetensors, is an adapter alone, or needs code or a library that is
    not there. Each names the folder or the file.
    """
    folder = CHECKPOINTS / name_or_folder
    folder = folder if folder.is_dir() else Path(name_or_folder)
    if folder.is_dir():
        if _model_type(folder) == "moe_lib":
            from moe_lib.training import load_checkpoint

            model, tokenizer = load_checkpoint(folder)
            require(tokenizer is not None, str(folder), "no tokenizer.json", "one beside the model")
            return model, tokenizer
        _check_weights(folder)
        _check_config(folder)
        return _open_transformers(str(folder), True, trust_remote_code)
    if str(name_or_folder).count("/") != 1 or str(name_or_folder).startswith((".", "/", "~")):
        raise FileNotFoundError(f"{name_or_folder}: no such folder; {_wants()}")
    return _open_transformers(str(name_or_folder), _no_network(), trust_remote_code)


def _no_network() -> bool:
    """True if the Hub cannot be reached: asked once here, as its own library tries again for most
    of a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return True
    try:
        getproxies() or socket.getaddrinfo(urlparse(constants.ENDPOINT).hostname, 443)
    except OSError:
        return True
    return False


def _open_transformers(name: str, local: bool, trust_remote_code: bool) -> tuple:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

    common = {"trust_remote_code": trust_remote_code, "local_files_only": local}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **common)
        try:
            model = AutoModelForCausalLM.from_pretrained(
                name, use_safetensors=True, dtype="auto", **common
            )
        except ValueError as error:
            if "Unrecognized configuration class" not in str(error):
                raise
            # a model that also sees: it reads a text alone just as well
            model = AutoModelForImageTextToText.from_pretrained(
                name, use_safetensors=True, dtype="auto", **common
            )
    except OSError as error:
        if Path(name).is_dir():
            raise FileNotFoundError(
                f"{name}: its files are not complete ({_first_line(error)})"
            ) from error
        why = "there is no network, and it was not fetched before" if local else _first_line(error)
        raise FileNotFoundError(f"{name}: could not be fetched ({why}); {_wants()}") from error
    except Exception as error:  # transformers, tokenizers and safetensors have classes of their own
        if "trust_remote_code" in str(error):
            raise ValueError(
                f"{name}: brings Python code of its own, which is not run unless you allow it "
                "(trust_remote_code=True, or --trust-remote-code)"
            ) from error
        raise ValueError(f"{name}: transformers cannot open it ({_first_line(error)})") from error
    return model.eval(), tokenizer


def _model_type(folder: Path) -> str | None:
    path, adapter = folder / "config.json", folder / "adapter_config.json"
    if adapter.is_file() and not path.is_file():
        base = read_json(adapter).get("base_model_name_or_path")
        raise ValueError(
            f"{folder}: an adapter of {base}, not a model; open the model that it belongs to, and "
            "put the adapter on it with peft's PeftModel.from_pretrained"
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: missing; a model is a folder with config.json and safetensors files"
        )
    config = read_json(path)
    return config.get("model_type")


def _check_config(folder: Path) -> None:
    """ValueError naming the file for a configuration that transformers refuses."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    fields = read_json(folder / "config.json")
    if fields.get("model_type") in CONFIG_MAPPING:  # others bring code of their own
        try:
            CONFIG_MAPPING[fields["model_type"]].from_dict(fields)
        except Exception as error:  # its checks raise classes of their own
            said = " ".join(line.strip() for line in str(error).splitlines())
            raise ValueError(f"{folder / 'config.json'}: {said}") from error


def _check_weights(folder: Path) -> None:
    weights = sorted(folder.glob("*.safetensors"))
    for path in weights:
        read_shapes(path)  # names a file that is cut short or a pointer
    if weights:
        return
    found = sorted(path.name for path in folder.iterdir() if path.suffix in _UNSAFE)
    if found:
        raise ValueError(
            f"{folder}: has its weights in {found[0]}, a format that may run code while it "
            "is read; "
            "wants safetensors files"
        )
    raise FileNotFoundError(
        f"{folder}: no safetensors file; a model is a folder with config.json and safetensors files"
    )


def _wants() -> str:
    known = sorted(path.parent.name for path in CHECKPOINTS.glob("*/config.json"))
    return (
        f"wants a folder, a checkpoint of the course ({', '.join(known)}), or "
        "organisation/model of the "
        "Hugging Face Hub"
    )


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
