"""Open a model by name or folder: a checkpoint of the course, or a causal model of Hugging Face
transformers."""

from pathlib import Path

from moe_lib.console import one_line
from moe_lib.errors import require, require_bool
from moe_lib.fetching import SOURCES, fetch, fetched
from moe_lib.files import finish_folder, read_json, read_shapes
from moe_lib.hub import hub_unreachable
from moe_lib.model_types import UPCYCLED_TYPE, refuse_quantised
from moe_lib.paths import CHECKPOINTS
from moe_lib.text_files import require_regular_files
from moe_lib.validation import PathLike, checked

OURS, ADAPTER, TRANSFORMERS, FETCHED = "moe_lib", "adapter", "transformers", "fetched"
ADAPTER_FILE = "adapter_config.json"
# Formats that may run code while they are read.
_UNSAFE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


@checked
def open_model(name_or_folder: PathLike, trust_remote_code: bool = False) -> tuple:
    """(model, tokenizer), the model in eval mode on the CPU.

    name_or_folder     a name of data/checkpoints/; a folder written by save_checkpoint, by
                       transformers, by save_upcycled, or by peft (an adapter: its base is
                       opened, too, and both are merged); "minilm" or "smollm2", real
                       models that are fetched once (moe_lib.fetching): an encoder without a
                       head, and a causal model; or the name of a model on the Hugging Face Hub
                       ("organisation/model"), which needs the network once
    trust_remote_code  let a model bring its own Python code and run it. Off: only the classes of
                       the installed transformers are used. Weights are read from safetensors files
                       only, either way.

    Raises FileNotFoundError for what is not there or cannot be fetched, ValueError for a folder
    that is damaged, holds no safetensors, or needs code of its own or a package that is missing.
    """
    require_bool("trust_remote_code", trust_remote_code)
    folder, kind = check_openable(name_or_folder)
    if kind == FETCHED:
        return _open_fetched(str(name_or_folder))
    if folder is None:
        return _open_transformers(str(name_or_folder), hub_unreachable(), trust_remote_code)
    if kind == OURS:
        from moe_lib.training import load_checkpoint

        return load_checkpoint(folder)
    if kind == ADAPTER:
        return _open_adapter(folder, trust_remote_code)
    if _model_type(folder) == UPCYCLED_TYPE:
        from moe_lib.interop import open_upcycled

        return open_upcycled(folder), open_tokenizer(folder)
    _check_config(folder)
    return _open_transformers(str(folder), True, trust_remote_code)


@checked
def open_tokenizer(name_or_folder: PathLike):
    """The tokenizer of a checkpoint of the course, a folder, or a model of the Hugging Face Hub,
    without its weights. Raises FileNotFoundError or ValueError naming what is wrong."""
    from transformers import AutoTokenizer

    own = CHECKPOINTS / name_or_folder
    if _is_source(name_or_folder):
        return _fetched_tokenizer(str(name_or_folder), fetch(str(name_or_folder)))
    name = str(own if own.is_dir() else name_or_folder)
    local = Path(name).is_dir() or hub_unreachable()
    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=local)
    except Exception as error:  # files of others fail in ways of their own
        raise _why_not(name, error, local) from error


def check_openable(name_or_folder: str | Path) -> tuple[Path | None, str]:
    """(folder, kind: OURS, ADAPTER, TRANSFORMERS or FETCHED); the folder is None for a name of the
    Hub, and for a model that is yet to be fetched.

    Looks at what can be seen at once, without torch: which files there are, and that the weights'
    are whole. Raises as open_model does.
    """
    require(
        isinstance(name_or_folder, str | Path) and str(name_or_folder).strip() != "",
        "name_or_folder",
        name_or_folder,
        "the name or the folder of a model",
        TypeError if not isinstance(name_or_folder, str | Path) else ValueError,
    )
    if _is_source(name_or_folder):
        return fetched(str(name_or_folder)), FETCHED
    folder = CHECKPOINTS / name_or_folder
    folder = folder if folder.is_dir() else Path(name_or_folder)
    if not folder.is_dir():
        if folder.exists():
            raise ValueError(f"{folder}: a file; {_wants()}")
        if str(name_or_folder).count("/") != 1 or str(name_or_folder).startswith((".", "/", "~")):
            raise FileNotFoundError(f"{name_or_folder}: no such folder; {_wants()}")
        return None, TRANSFORMERS
    finish_folder(folder)
    require_regular_files(folder)
    if (folder / ADAPTER_FILE).is_file() and not (folder / "config.json").exists():
        _check_weights(folder)
        return folder, ADAPTER
    ours = _model_type(folder) == OURS
    _check_weights(folder)
    if ours:
        there = (folder / "tokenizer.json").is_file()
        require(there, str(folder), "no tokenizer.json", "one beside the model")
    return folder, OURS if ours else TRANSFORMERS


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
    except Exception as error:  # files and packages of others fail in ways of their own
        raise _why_not(name, error, local) from error
    return model.eval(), tokenizer


def _is_source(name_or_folder: str | Path) -> bool:
    """Is it a model of moe_lib.fetching? A folder of the same name comes first."""
    return str(name_or_folder) in SOURCES and not Path(name_or_folder).is_dir()


def _open_fetched(name: str) -> tuple:
    from transformers import AutoModel, AutoModelForCausalLM

    folder, weights = fetch(name), SOURCES[name].weights
    packed = weights.endswith(".gguf")
    kind = AutoModelForCausalLM if packed else AutoModel
    options = {"gguf_file": weights} if packed else {"use_safetensors": True}
    try:
        model = kind.from_pretrained(str(folder), local_files_only=True, dtype="float32", **options)
    except Exception as error:  # packages of others fail in ways of their own
        raise _why_not(name, error, True) from error
    return model.eval(), _fetched_tokenizer(name, folder)


def _fetched_tokenizer(name: str, folder: Path):
    from transformers import AutoTokenizer

    weights = SOURCES[name].weights
    options = {"gguf_file": weights} if weights.endswith(".gguf") else {}
    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, **options)
    except Exception as error:
        raise _why_not(name, error, True) from error


def _why_not(name: str, error: Exception, local: bool) -> Exception:
    """What is wrong with a model that transformers could not open, in one sentence."""
    said = one_line(error)
    if isinstance(error, OSError):
        if Path(name).is_dir():
            return FileNotFoundError(f"{name}: its files are not complete ({said})")
        why = "there is no network, and it was not fetched before" if local else said
        return FileNotFoundError(f"{name}: could not be fetched ({why}); {_wants()}")
    if isinstance(error, ImportError):
        return ValueError(f"{name}: needs a package that is not installed ({said})")
    if "trust_remote_code" in said:
        return ValueError(
            f"{name}: brings Python code of its own, which is not run unless you allow it "
            "(trust_remote_code=True, or --trust-remote-code)"
        )
    return ValueError(f"{name}: transformers cannot open it ({type(error).__name__}: {said})")


def _open_adapter(folder: Path, trust_remote_code: bool) -> tuple:
    """An adapter of peft, merged into its base."""
    path = folder / ADAPTER_FILE
    base = read_json(path).get("base_model_name_or_path")
    require(
        isinstance(base, str) and base != "", f"{path}: base_model_name_or_path", base, "a name"
    )
    try:
        _, kind = check_openable(base)
        require(kind == TRANSFORMERS, "base", base, "a model of transformers")
        model, tokenizer = open_model(base, trust_remote_code)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder}: an adapter, not a model; its base cannot be opened ({one_line(error)})"
        ) from error
    try:
        from peft import PeftModel

        return PeftModel.from_pretrained(model, str(folder)).merge_and_unload().eval(), tokenizer
    except Exception as error:
        said = f"{type(error).__name__}: {one_line(error)}"
        raise ValueError(f"{folder}: an adapter that does not fit {base} ({said})") from error


def _model_type(folder: Path) -> str | None:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: missing; a model is a folder with config.json and safetensors files"
        )
    kind = read_json(path).get("model_type")
    refuse_quantised(path, kind)
    return kind


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
    """ValueError or FileNotFoundError unless there are safetensors files, all of them whole."""
    files = sorted(folder.glob("*.safetensors"))
    for path in files:
        read_shapes(path)
    index = folder / "model.safetensors.index.json"
    if index.is_file() and isinstance(parts := read_json(index).get("weight_map"), dict):
        missing = sorted({str(name) for name in parts.values()} - {path.name for path in files})
        if missing:
            raise FileNotFoundError(f"{folder / missing[0]}: missing; {index.name} names it")
    if files:
        return
    found = sorted(path.name for path in folder.iterdir() if path.suffix in _UNSAFE)
    if found:
        raise ValueError(
            f"{folder}: has its weights in {found[0]}, a format that may run code while it is "
            "read; wants safetensors files"
        )
    raise FileNotFoundError(
        f"{folder}: no safetensors file; a model is a folder with config.json and safetensors files"
    )


def _wants() -> str:
    known = sorted(path.parent.name for path in CHECKPOINTS.glob("*/config.json"))
    return (
        f"wants a folder, a checkpoint of the course ({', '.join(known)}), "
        f"{' or '.join(SOURCES)}, or organisation/model of the Hugging Face Hub"
    )
