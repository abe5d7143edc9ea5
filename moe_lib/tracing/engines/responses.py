"""Answers of a serving engine, as they come: dicts, JSON texts, files, objects of its client."""

import base64
import binascii
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from moe_lib.errors import require
from moe_lib.text_files import read_text
from moe_lib.tracing.engines.arrays import whole_array


def answers(response: Any, engine: str) -> list[tuple[str, dict]]:
    """(name for a message, answer) of each answer: `response` is one, a list of them, the JSON text
    of either, or a file of it (.jsonl: one a line)."""
    if isinstance(response, Path) or (isinstance(response, str) and not _is_json(response)):
        return _of_file(Path(response).expanduser(), engine)
    if isinstance(response, str):
        response = _parsed("response", response)
    return _flat("response", response, engine)


def engine_of(response: Any) -> str:
    """ "vllm" or "sglang", by the names of its fields: only SGLang has meta_info or sgl_ext."""
    found = [one for _, one in answers(response, "vLLM or SGLang")]
    parts = [part for one in found for part in (one, *_choices(one))]
    sglang = any(part.get("meta_info") or part.get("sgl_ext") for part in parts)
    return "sglang" if sglang else "vllm"


def _choices(answer: dict) -> list[dict]:
    listed = answer.get("choices")
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[")


def _of_file(path: Path, engine: str) -> list[tuple[str, dict]]:
    text = read_text(path)
    if path.suffix != ".jsonl":
        return _flat(str(path), _parsed(str(path), text), engine)
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    require(bool(lines), str(path), "an empty file", f"an answer of {engine} on each line")
    found = []
    for number, line in lines:
        name = f"{path}, line {number}"
        found += _flat(name, _parsed(name, line), engine)
    return found


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: not valid JSON ({error}); wants a whole answer") from error


def _flat(name: str, value: Any, engine: str) -> list[tuple[str, dict]]:
    if isinstance(value, list | tuple):
        require(len(value) > 0, name, "an empty list", f"answers of {engine}")
        each = ((f"{name}[{n}]", one) for n, one in enumerate(value))
        return [answer for place, one in each for answer in _flat(place, one, engine)]
    value = value if isinstance(value, dict) else _plain(value)
    require(isinstance(value, dict), name, value, f"an answer of {engine} (a dict)", TypeError)
    said = value.get("error", value.get("message") if value.get("object") == "error" else None)
    require(not said, name, f"an error: {said}", f"an answer of {engine}")
    return [(name, value)]


def _plain(value: Any) -> Any:
    """An object of the OpenAI client, or of vLLM's `LLM.generate`, as a dict."""
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if not hasattr(value, "outputs"):
        return value
    fields = ("prompt_token_ids", "prompt_routed_experts")
    choice = ("token_ids", "routed_experts", "text")
    outputs = [{name: getattr(one, name, None) for name in choice} for one in value.outputs]
    return {name: getattr(value, name, None) for name in fields} | {"choices": outputs}


def token_ids(name: str, value: Any) -> list[int] | None:
    """A flat list of token ids, or None for what is not there."""
    if value is None:
        return None
    fits = isinstance(value, list | tuple) and all(type(one) is int and one >= 0 for one in value)
    require(fits, name, value, "a list of token ids", TypeError)
    return list(value)


def decoded(name: str, value: Any, outline: tuple[int | None, int | None], dtype: str) -> Tensor:
    """(tokens, layers, k) int64 of what an engine sent: nested lists, an array, base64 of a .npy
    file, base64 of the bare numbers, or {"data": base64, "shape": […], "dtype": …}.

    outline  (layers, k), needed where the bare numbers come flat; dtype is theirs
    """
    if isinstance(value, dict):
        known = {"data", "shape"} <= set(value)
        require(known, name, sorted(value), 'a dict with "data" and "shape"')
        numbers = _numbers(name, _bytes(name, value["data"]), str(value.get("dtype", dtype)))
        return _shaped(name, numbers, value["shape"])
    if isinstance(value, str | bytes):
        raw = _bytes(name, value)
        if raw.startswith(b"\x93NUMPY"):
            return whole_array(name, _of_npy(name, raw), "(tokens, MoE layers, k)")
        return _flat_array(name, _numbers(name, raw, dtype), outline)
    if isinstance(value, list) and value and isinstance(value[0], int):
        return _flat_array(name, np.asarray(value), outline)
    return whole_array(name, value, "(tokens, MoE layers, k)")


def _bytes(name: str, text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise ValueError(f"{name}: not valid base64 ({error}); wants a whole answer") from error


def _of_npy(name: str, raw: bytes) -> np.ndarray:
    try:
        return np.load(io.BytesIO(raw), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{name}: not a whole .npy array ({error})") from error


def _numbers(name: str, raw: bytes, dtype: str) -> np.ndarray:
    kinds = ("uint8", "int8", "int16", "uint16", "int32", "int64")
    kind = dtype.removeprefix("torch.")
    require(kind in kinds, f"{name} dtype", dtype, f"one of {', '.join(kinds)}")
    size = np.dtype(kind).itemsize
    wants = f"whole numbers of {size} bytes ({kind}): a multiple of {size}"
    require(len(raw) % size == 0, name, f"{len(raw)} bytes", wants)
    return np.frombuffer(raw, dtype=np.dtype(kind).newbyteorder("<"))


def _shaped(name: str, numbers: np.ndarray, shape: Any) -> Tensor:
    fits = isinstance(shape, list | tuple) and len(shape) == 3
    fits = fits and all(type(one) is int and one >= 0 for one in shape)
    require(fits, f"{name} shape", shape, "three whole numbers: tokens, MoE layers, k")
    wants = f"{shape[0]} × {shape[1]} × {shape[2]}, its shape"
    require(numbers.size == np.prod(shape), name, f"{numbers.size} numbers", wants)
    return whole_array(name, numbers.reshape(shape), "(tokens, MoE layers, k)")


def _flat_array(name: str, numbers: np.ndarray, outline: tuple[int | None, int | None]) -> Tensor:
    missing = [word for word, n in zip(("n_layers", "k"), outline, strict=True) if n is None]
    wants = f"{' and '.join(missing)}, to know its shape (the MoE layers, experts per token)"
    require(not missing, name, f"{numbers.size} numbers in a row", wants)
    layers, k = outline
    wants = f"a multiple of {layers} layers × {k} experts per token"
    require(numbers.size % (layers * k) == 0, name, f"{numbers.size} numbers", wants)
    return whole_array(name, numbers.reshape(-1, layers, k), "(tokens, MoE layers, k)")


def require_names(tokenizer: Any) -> None:
    """A tokenizer that turns a text into token ids, or None."""
    fits = tokenizer is None or (callable(tokenizer) and hasattr(tokenizer, "decode"))
    require(fits, "tokenizer", tokenizer, "a tokenizer, or None", TypeError)
