"""One call for every text: the course's corpora, the reader's files, data sets of the Hugging Face
Hub."""

import hashlib
import os
import sys
import sysconfig
from contextlib import contextmanager
from pathlib import Path

from moe_lib.errors import require, require_number, require_unicode
from moe_lib.hub import hub_unreachable
from moe_lib.paths import DATA
from moe_lib.text.corpora.arrow_cache import cache_folder, cached_dataset, quiet_datasets
from moe_lib.text.corpora.package_docs import NAME as PACKAGE_DOCS
from moe_lib.text.corpora.package_docs import package_docs
from moe_lib.text.corpora.readers import FILE_TYPES, read_documents, row_document
from moe_lib.text.corpora.splitting import (
    hash_fraction,
    highest_containers,
    split_positions,
    split_threshold,
)
from moe_lib.text_files import path_of

PYTHON_CORPORA = ("python", "python_code", "python_docstrings", "python_reference")
MIXTURE = "mixture"  # "python" and all written corpora: what the course pretrains on
_COLUMNS = ("text", "domain", "source")
# raise it when python_sources.py or splitting.py changes what they produce, or arrow_cache.py how
# that is kept
_RECIPE = 3


def corpus_names() -> list[str]:
    """The names that load_corpus knows on this machine. "python" and "mixture" are made of the
    others."""
    return sorted({*PYTHON_CORPORA, PACKAGE_DOCS, MIXTURE, *_written_names()})


def _written_names() -> list[str]:
    return sorted(path.parent.name for path in (DATA / "corpora").glob("*/documents.jsonl"))


def load_corpus(
    name_or_path: str | Path,
    *,
    text_column: str = "text",
    domain: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    held_out: float = 0.1,
):
    """Load documents as a datasets.DatasetDict with "train" and "heldout", columns text, domain and
    source.

    name_or_path   a name (see corpus_names); "python" is its three corpora together, "mixture"
                   these and the written ones, with the domain of each document; "package_docs",
                   the docstrings of the course's pinned packages, is not among them;
                   or a .txt, .jsonl, .json, .csv, .tsv or .parquet file, or a folder of .txt files;
                   or "hub:owner/name" or "hub:owner/name:config", a data set of the Hub, when
                   online
    text_column    where the text is, in files and data sets with columns
    domain         the domain of all documents; by default each document's own, or the name of the
                   file
    split          "train" or "heldout": return that Dataset alone
    limit          use so many documents: of the Python corpora and "package_docs" a mixed choice,
                   the same every time; of anything else the first ones; of "mixture" so many from
                   each of its parts
    held_out       the share of documents held out (about: a hash decides), 0 for none

    The split is by document and depends on the document, not on its place. Near copies stay on one
    side; a document that would be held out but stands for the most part in a training document is
    left out. Of a Hub data set the "train" split (or its only one) is read; rows without text are
    left out.

    Raises ValueError for a bad argument or a damaged file (naming file and row), FileNotFoundError
    for a missing file or a Python without its library sources, ConnectionError when a Hub data set
    is out of reach.
    """
    _check_arguments(name_or_path, text_column, domain, split, limit, held_out)
    name = str(name_or_path)
    if name == MIXTURE:
        return _mixture(domain=domain, split=split, limit=limit, held_out=held_out)
    if name in PYTHON_CORPORA:
        dataset = _python_corpus(name, limit)
    elif name == PACKAGE_DOCS:
        dataset = _mixed_choice(package_docs(), limit)
    elif name.startswith("hub:"):
        dataset = _positioned(_hub_documents(name, text_column, limit))
    else:
        path = _find_path(name_or_path)
        dataset = _positioned(read_documents(path, text_column=text_column, limit=limit))
    return _split(dataset, name, domain, split, held_out)


def _check_arguments(name_or_path, text_column, domain, split, limit, held_out) -> None:
    wants = "the name of a corpus, a path, or 'hub:owner/name'"
    require(isinstance(name_or_path, str | Path), "name_or_path", name_or_path, wants, TypeError)
    require(str(name_or_path).strip() != "", "name_or_path", name_or_path, wants)
    known = isinstance(split, str | None) and split in (None, "train", "heldout")
    require(known, "split", split, "None, 'train' or 'heldout'")
    at_least_1 = limit is None or (type(limit) is int and limit > 0)
    require(at_least_1, "limit", limit, "None or a whole number of at least 1")
    require_number("held_out", held_out, at_least=0, below=1)
    for argument, value in (("text_column", text_column), ("domain", domain)):
        if value is not None or argument == "text_column":
            require(isinstance(value, str), argument, value, "a text", TypeError)
            require(value.strip() != "", argument, value, "a text that is not empty")
            require_unicode(argument, value)


def _mixture(split: str | None, **options):
    """The sides of all its corpora joined: a document is on the side that it has in its own
    corpus."""
    from datasets import DatasetDict, concatenate_datasets

    parts = [load_corpus(name, **options) for name in ("python", *_written_names())]
    sides = {
        side: concatenate_datasets([part[side] for part in parts]) for side in ("train", "heldout")
    }
    return DatasetDict(sides) if split is None else sides[split]


def _find_path(name_or_path: str | Path) -> Path:
    name = str(name_or_path)
    if name in corpus_names():
        return DATA / "corpora" / name
    path = path_of("name_or_path", name_or_path)
    # os.path and not Path: a long text given for a path is no file, and no error of the system's
    if os.path.exists(path) or path.suffix.lower() in FILE_TYPES or len(path.parts) > 1:
        return path  # read_documents says so if it does not exist
    raise ValueError(
        f"name_or_path: got {name[:80]!r}, which is neither a corpus nor a file; wants one of "
        f"{', '.join(corpus_names())}, or a path, or 'hub:owner/name'"
    )


def _python_corpus(name: str, limit: int | None):
    """Built and split together, so that a document's side is the same in "python" and in its own
    corpus."""
    from moe_lib.text.corpora.python_sources import python_documents

    recipe = f"{_RECIPE} {sys.version} {sysconfig.get_path('stdlib')}"
    version = ".".join(str(number) for number in sys.version_info[:3])
    folder_name = f"python-{version}-{hashlib.blake2b(recipe.encode(), digest_size=5).hexdigest()}"
    dataset = cached_dataset(
        cache_folder() / "corpora", folder_name, lambda: _positioned(python_documents())
    )
    if name != "python":
        domains = dataset["domain"][:]
        dataset = dataset.select([i for i, domain in enumerate(domains) if domain == name])
    return _mixed_choice(dataset, limit)


def _mixed_choice(dataset, limit: int | None):
    """`limit` rows by the hash of their source, in order; all of them for None."""
    if limit is None or limit >= len(dataset):
        return dataset
    sources = dataset["source"][:]
    mixed = sorted(range(len(sources)), key=lambda index: hash_fraction("limit", sources[index]))
    return dataset.select(sorted(mixed[:limit]))


def _positioned(documents: list[dict]):
    """A Dataset of the documents with two further columns, `position` and `container`: see
    splitting.py."""
    from datasets import Dataset, Features, Value

    columns = {column: [document[column] for document in documents] for column in _COLUMNS}
    columns["position"] = split_positions(documents)
    columns["container"] = highest_containers(documents, columns["position"])
    numbers = {"position": Value("float64"), "container": Value("float64")}
    features = Features({**{column: Value("string") for column in _COLUMNS}, **numbers})
    return Dataset.from_dict(columns, features=features)


def _split(dataset, name: str, domain: str | None, split: str | None, held_out: float):
    from datasets import DatasetDict

    positions, containers = list(dataset["position"]), list(dataset["container"])
    try:
        threshold = split_threshold(positions, held_out)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    dataset = dataset.remove_columns(["position", "container"])
    if domain is not None:
        dataset = dataset.remove_columns("domain").add_column("domain", [domain] * len(dataset))
        dataset = dataset.select_columns(list(_COLUMNS))
    held = [
        index
        for index, place in enumerate(positions)
        if place < threshold and containers[index] < threshold
    ]
    if threshold and not held:
        raise ValueError(
            f"{name}: held_out: whatever would be held out stands in a training document; "
            "give more text"
        )
    sides = {
        "train": dataset.select(
            [index for index, place in enumerate(positions) if place >= threshold]
        ),
        "heldout": dataset.select(held),
    }
    return DatasetDict(sides) if split is None else sides[split]


@contextmanager
def _offline_if_unreachable():
    """Without a name server, say so at once (or use downloaded copies), not after half a minute of
    trying."""
    import datasets.config
    import huggingface_hub.constants as hub

    switches = (datasets.config, hub)
    before = [module.HF_HUB_OFFLINE for module in switches]
    if hub_unreachable():
        for module in switches:
            module.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for module, value in zip(switches, before, strict=True):
            module.HF_HUB_OFFLINE = value


def _hub_documents(name: str, text_column: str, limit: int | None) -> list[dict]:
    import datasets

    repository, _, config = name.removeprefix("hub:").partition(":")
    try:
        with quiet_datasets(), _offline_if_unreachable():
            loaded = datasets.load_dataset(repository, config or None)
    except (
        Exception
    ) as error:  # offline, unknown, private and broken data sets raise many kinds of errors
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConnectionError(
            f"{name}: could not be loaded from the Hugging Face Hub ({reason}); without a "
            "network the course "
            f"has {', '.join(corpus_names())}"
        ) from error
    rows = loaded["train"] if "train" in loaded else next(iter(loaded.values()))
    if text_column not in rows.column_names:
        raise ValueError(
            f'{name}: has no "{text_column}"; its columns are {", ".join(rows.column_names)}'
        )
    documents = []
    for number, row in enumerate(rows, start=1):
        if isinstance(row[text_column], str) and row[text_column].strip():
            documents.append(
                row_document(
                    row, f"{name}: row {number}", text_column, repository, f"{repository}:{number}"
                )
            )
        if limit is not None and len(documents) == limit:
            break
    if not documents:
        raise ValueError(f'{name}: has no row with text in "{text_column}"')
    return documents
