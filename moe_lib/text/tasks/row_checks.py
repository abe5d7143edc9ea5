"""Check rows of labelled sets. An error names the file and the row (`place`), the field, and what
is wrong."""

import math

from moe_lib.text.tasks.schema import Field
from moe_lib.text_files import check_text


def check_row(row: object, fields: dict[str, Field], place: str) -> None:
    """Raise ValueError unless `row` has exactly these fields, each with a value of its kind (see
    schema.py)."""
    if not isinstance(row, dict):
        raise ValueError(f"{place} is {type(row).__name__}; wants an object with fields")
    missing = [name for name in fields if name not in row]
    if missing:
        raise ValueError(f'{place} has no "{missing[0]}"; it has {", ".join(row) or "nothing"}')
    unknown = [name for name in row if name not in fields]
    if unknown:
        raise ValueError(
            f'{place} has a field "{unknown[0]}" too many; wants only {", ".join(fields)}'
        )
    for name, field in fields.items():
        here = f'{place}: "{name}"'
        _CHECKS[field.kind](row[name], field, here)
        if field.kind == "answers":
            check_offsets(row[name], row["context"], here)


def check_offsets(answers: dict, context: str, place: str) -> None:
    """Raise ValueError unless every answer stands in the context where its offset (in characters)
    says."""
    for text, start in zip(answers["text"], answers["answer_start"], strict=True):
        found = context[start : start + len(text)] if start >= 0 else ""
        if found != text:
            raise ValueError(
                f"{place}: at offset {start} the context has {found!r}, not the answer {text!r}"
            )


def check_unique(seen: dict[str, str], row_id: str, place: str) -> None:
    """Raise ValueError if the id was seen before; remember it. `seen` maps an id to its place."""
    if row_id in seen:
        raise ValueError(f'{place}: "id" {row_id!r} is taken by {seen[row_id]}')
    seen[row_id] = place


def _check_label(value: object, field: Field, place: str) -> None:
    check_text(value, place)
    if value not in field.names:
        raise ValueError(f"{place} is {value!r}; wants one of {', '.join(field.names)}")


def _check_strings(value: object, place: str) -> None:
    if not isinstance(value, list):
        raise ValueError(f"{place} is {type(value).__name__}; wants a list")
    for number, item in enumerate(value, start=1):
        check_text(item, f"{place} number {number}")


def _check_ids(value: object, field: Field, place: str) -> None:
    _check_strings(value, place)
    if not value:
        raise ValueError(f"{place} is empty; wants at least one id")
    if len(set(value)) < len(value):
        raise ValueError(f"{place} names an id twice: {', '.join(value)}")


def _check_keys(value: object, keys: tuple[str, ...], place: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{place} is {type(value).__name__}; wants an object")
    if set(value) != set(keys):
        raise ValueError(f"{place} has {', '.join(value) or 'nothing'}; wants {' and '.join(keys)}")


def _check_translation(value: object, field: Field, place: str) -> None:
    _check_keys(value, ("en", "zh"), place)
    for language, text in value.items():
        check_text(text, f"{place}, {language}")


def _check_answers(value: object, field: Field, place: str) -> None:
    _check_keys(value, ("text", "answer_start"), place)
    _check_strings(value["text"], f"{place}, text")
    starts = value["answer_start"]
    if not isinstance(starts, list) or any(type(start) is not int for start in starts):
        raise ValueError(f"{place}, answer_start is {starts!r}; wants a list of whole numbers")
    if len(starts) != len(value["text"]):
        raise ValueError(
            f"{place} has {len(value['text'])} texts and {len(starts)} offsets; wants as "
            "many of each"
        )


def _check_price(value: object, field: Field, place: str) -> None:
    if type(value) not in (int, float) or not (math.isfinite(value) and value > 0):
        raise ValueError(f"{place} is {value!r}; wants a number above 0")


def _check_attributes(value: object, field: Field, place: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{place} is {type(value).__name__}; wants an object")
    if "type" not in value:
        raise ValueError(f'{place} has no "type"; it has {", ".join(value) or "nothing"}')
    for key, item in value.items():
        if isinstance(item, str):
            check_text(item, f"{place}, {key}")
        elif type(item) not in (bool, int, float) or not math.isfinite(item):
            raise ValueError(f"{place}, {key} is {item!r}; wants text, a number, true or false")


_CHECKS = {
    "text": lambda value, field, place: check_text(value, place),
    "choice": _check_label,
    "label": _check_label,
    "ids": _check_ids,
    "translation": _check_translation,
    "answers": _check_answers,
    "price": _check_price,
    "attributes": _check_attributes,
}
