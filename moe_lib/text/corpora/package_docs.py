"""Documents from the packages that the course pins: their docstrings, read where they lie.

Eleven million tokens that lie on every learner's disk, so nothing has to be shipped. Files are
parsed, never imported. The pins decide the text: with the versions below it is the same on every
machine, which `CHECKSUM` states; with others it is another text, and a warning says so.

Paragraphs that packages copy from each other, word by word, are kept once. Passages that differ in
a name only (the documentation of two related models) are not seen as copies: held-out text of this
corpus has cousins in the training text, for every model alike.
"""

import ast
import hashlib
import re
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import PurePosixPath

from moe_lib.text.corpora.arrow_cache import cache_folder, cached_dataset
from moe_lib.text.corpora.python_sources import MIN_DOCSTRING, docstrings_of
from moe_lib.text.corpora.splitting import hash_fraction

NAME = "package_docs"
PACKAGES = {  # the versions that constraints.txt pins; a test compares
    "accelerate": "1.15.0",
    "datasets": "5.2.0",
    "fonttools": "4.68.0",
    "huggingface_hub": "2.4.0",
    "ipython": "9.18.1",
    "matplotlib": "3.11.2",
    "mpmath": "1.3.0",
    "narwhals": "2.29.0",
    "networkx": "3.6.1",
    "nltk": "3.10.4",
    "numpy": "2.4.6",
    "pandas": "3.1.1",
    "peft": "0.21.2",
    "pillow": "13.0.0",
    "playwright": "1.65.0",
    "pydantic": "2.14.3",
    "scikit-learn": "1.9.1",
    "scipy": "1.17.1",
    "sympy": "1.14.0",
    "tensorboard": "2.21.0",
    "torch": "2.13.0",
    "tornado": "6.6.1",
    "transformers": "5.23.0",
}
CHECKSUM = "b4bdd782cebf323f082ae444b882957a"
LONG_PARAGRAPH = 80  # characters; shorter ones ("Parameters") may repeat

# Tests, copies of other projects, and files that depend on where a package was built.
_SKIPPED_FOLDERS = {"test", "tests", "_vendor", "externals"}
_SKIPPED_FILES = {"__config__.py", "_distributor_init.py", "_version.py", "version.py"}
# The oldest Python of the course decides what is readable, so that newer ones read no more.
_SYNTAX = (3, 11)
_BLANK_LINES = re.compile(r"\n\s*\n")
_RECIPE = 2  # raise it when what this file produces changes


def package_docs():
    """The corpus as a datasets.Dataset with columns text, domain, source, position and container,
    one row per docstring, from the cache if it is there.

    `position` decides the side as in splitting.py, by file; `container` is -1, as copied paragraphs
    are out already. Warns if the text is not the one of the pinned versions. Raises
    FileNotFoundError if none of the packages is installed.
    """
    found = _installed()
    if not found:
        raise FileNotFoundError(
            f"{NAME}: none of its packages is installed ({', '.join(PACKAGES)}); "
            "wants the course's requirements.txt installed"
        )
    versions = {name: _public_version(package.version) for name, package in found.items()}
    _warn_of_other_versions(versions)
    recipe = f"{_RECIPE} {sorted(versions.items())}"
    key = hashlib.blake2b(recipe.encode(), digest_size=5).hexdigest()
    dataset = cached_dataset(
        cache_folder() / "corpora", f"{NAME}-{key}", lambda: _dataset(package_documents(found))
    )
    if versions == PACKAGES and checksum(dataset) != CHECKSUM:
        warnings.warn(
            f"{NAME}: the packages have the pinned versions, but their text is another one "
            f"(check sum {checksum(dataset)}, wanted {CHECKSUM}): some file was changed or is "
            "missing; results will differ a little from the course's",
            stacklevel=2,
        )
    return dataset


def package_documents(found: dict[str, metadata.Distribution] | None = None) -> Iterator[dict]:
    """The docstrings of the packages, sorted by package and file, each long paragraph once.

    found  distributions by name; by default those of `PACKAGES` that are installed

    A document is a dictionary with `text`, `domain`, `source` ("torch/nn/modules/linear.py#Linear")
    and `key` (the file: documents with equal keys stay on the same side of the split). At no moment
    is more than one file in memory, besides eight bytes per paragraph. Files that are not UTF-8 or
    need a newer Python than the course's oldest are left out.
    """
    from tqdm.auto import tqdm

    files = [
        (path.as_posix(), path.locate())
        for _, package in sorted((_installed() if found is None else found).items())
        for path in sorted(package.files or [])
        if _is_wanted(path)
    ]
    seen: set[bytes] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the packages' own escape sequences and the like
        for name, path in tqdm(files, f"reading {NAME}", unit="file", leave=False, mininterval=1):
            try:
                tree = ast.parse(
                    path.read_bytes().decode("utf-8").replace("\r\n", "\n"),
                    feature_version=_SYNTAX,
                )
            except (OSError, SyntaxError, ValueError):
                continue
            for qualified_name, docstring in docstrings_of(tree):
                text = _without_known_paragraphs(docstring, seen)
                if len(text) >= MIN_DOCSTRING:
                    source = f"{name}#{qualified_name}" if qualified_name else name
                    yield {"text": text, "domain": NAME, "source": source, "key": name}


def checksum(documents) -> str:
    """A check sum of the texts and sources of a dataset with these columns, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for text, source in zip(documents["text"], documents["source"], strict=True):
        digest.update(f"{source}\0{text}\0".encode())
    return digest.hexdigest()


def _installed() -> dict[str, metadata.Distribution]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _public_version(version: str) -> str:
    return version.partition("+")[0]  # torch's "2.13.0+cpu" is 2.13.0 built for CPUs


def _warn_of_other_versions(versions: dict[str, str]) -> None:
    others = [
        f"{name} {versions.get(name, 'is missing')} (the course has {pinned})"
        for name, pinned in PACKAGES.items()
        if versions.get(name) != pinned
    ]
    if others:
        warnings.warn(
            f"{NAME}: {'; '.join(others)}: the text differs from the course's, and results with it",
            stacklevel=3,
        )


def _is_wanted(path: PurePosixPath) -> bool:
    return (
        path.suffix == ".py"
        and path.name not in _SKIPPED_FILES
        and not _SKIPPED_FOLDERS & set(path.parts[:-1])
        and ".." not in path.parts  # scripts, beside the packages
    )


def _without_known_paragraphs(text: str, seen: set[bytes]) -> str:
    """`text` less its long paragraphs that are in `seen`, where the new ones are added."""
    kept = []
    for paragraph in _BLANK_LINES.split(text):
        paragraph = "\n".join(line.rstrip() for line in paragraph.split("\n")).strip("\n")
        if len(paragraph) >= LONG_PARAGRAPH:
            digest = hashlib.blake2b(paragraph.encode("utf-8", "replace"), digest_size=8).digest()
            if digest in seen:
                continue
            seen.add(digest)
        if paragraph:
            kept.append(paragraph)
    return "\n\n".join(kept)


def _dataset(documents: Iterator[dict]):
    from datasets import Dataset, Features, Value

    columns: dict[str, list] = {
        name: [] for name in ("text", "domain", "source", "position", "container")
    }
    for document in documents:
        for name in ("text", "domain", "source"):
            columns[name].append(document[name])
        columns["position"].append(hash_fraction("split", document["key"]))
        columns["container"].append(-1.0)
    words = dict.fromkeys(("text", "domain", "source"), Value("string"))
    numbers = dict.fromkeys(("position", "container"), Value("float64"))
    return Dataset.from_dict(columns, features=Features({**words, **numbers}))
