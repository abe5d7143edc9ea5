"""Documents from the reader's own Python: its reference manual, its docstrings, its source code.

Source files are read and parsed, never imported. A document is a dictionary with `text`, `domain`,
`source` (a path inside the standard library, never a path of this machine) and `key` (documents
with equal keys stay on the same side of the train / held-out split).
"""

import ast
import hashlib
import re
import sysconfig
from pathlib import Path

from moe_lib.text.corpora.near_duplicates import near_duplicate_groups

DOMAINS = ("python_reference", "python_docstrings", "python_code")
MIN_DOCSTRING = 80  # characters; shorter ones say little ("Return the name.")
MIN_FILE, MAX_FILE = 500, 120_000  # characters
CODE_BUDGET = (
    3_000_000  # characters of source code, so that code does not swamp the two prose corpora
)
MIN_SECTION = 1_500  # characters of the reference manual per document, where its headings allow

# Tests, copies of other projects, tables of numbers, and files that name paths of this machine.
_SKIPPED_FOLDERS = {
    "__pycache__",
    "dist-packages",
    "encodings",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "msilib",
    "pydoc_data",
    "site-packages",
    "test",
    "tests",
    "turtledemo",
    "_bootstrap",
    "lib-dynload",
}
_HEADING = re.compile(r"^(?=\S[^\n]*\n([*=\-~^])\1{2,}\n)", re.MULTILINE)
_INSTALL_HINT = (
    "Install a full Python with its library sources: from python.org, or by `apt install python3 "
    "libpython3-stdlib` on Debian or Ubuntu. (The 'embeddable' Windows package has none.)"
)


def python_documents() -> list[dict]:
    """All documents of the three corpora, sorted by domain and source, without copies or near
    copies.

    Raises FileNotFoundError if this Python has no library sources or no reference manual.
    """
    documents = reference_documents() + _library_documents()
    groups = near_duplicate_groups([document["text"] for document in documents])
    kept = [document for index, document in enumerate(documents) if groups[index] == index]
    code = [document for document in kept if document["domain"] == "python_code"]
    return [document for document in kept if document["domain"] != "python_code"] + _within_budget(
        code
    )


def reference_documents() -> list[dict]:
    """The language reference (`pydoc_data.topics`), cut at its headings into documents of some
    length."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise FileNotFoundError(
            f"python_reference: this Python has no pydoc_data.topics. {_INSTALL_HINT}"
        ) from error
    documents = []
    for name in _topics_not_inside_others(topics):
        for number, section in enumerate(_sections(topics[name])):
            source = f"topics/{name}" + (f"#{number + 1}" if number else "")
            documents.append(
                {"text": section, "domain": "python_reference", "source": source, "key": source}
            )
    return documents


def _topics_not_inside_others(topics: dict[str, str]) -> list[str]:
    """Names of the topics less those whose lines mostly appear in a longer topic."""
    lines = {
        name: {line.strip() for line in topics[name].splitlines() if line.strip()}
        for name in topics
    }
    kept: list[str] = []
    for name in sorted(topics, key=lambda name: (-len(lines[name]), name)):
        if all(len(lines[name] & lines[other]) < 0.3 * len(lines[name]) for other in kept):
            kept.append(name)
    return sorted(kept)


def _sections(text: str) -> list[str]:
    """Cut a text before its underlined headings, into pieces of at least MIN_SECTION where
    possible."""
    pieces = [""]
    starts = [match.start() for match in _HEADING.finditer(text)]
    for start, end in zip([0, *starts], [*starts, len(text)], strict=True):
        if len(pieces[-1]) >= MIN_SECTION:
            pieces.append("")
        pieces[-1] += text[start:end]
    if len(pieces) > 1 and len(pieces[-1]) < MIN_SECTION:
        last = pieces.pop()
        pieces[-1] += last
    return [piece.strip() for piece in pieces if piece.strip()]


def _library_documents() -> list[dict]:
    root = Path(sysconfig.get_path("stdlib"))
    docstrings, code = [], []
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        relative = path.relative_to(root)
        if _SKIPPED_FOLDERS & set(relative.parts[:-1]) or path.name.startswith("_sysconfigdata"):
            continue
        try:
            text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
            tree = ast.parse(text)
        except (UnicodeDecodeError, SyntaxError, ValueError):
            continue  # a handful of library files are kept broken or in other encodings on purpose
        name = relative.as_posix()
        for qualified_name, docstring in docstrings_of(tree):
            if len(docstring) >= MIN_DOCSTRING:
                source = f"{name}#{qualified_name}" if qualified_name else name
                docstrings.append(
                    {
                        "text": docstring,
                        "domain": "python_docstrings",
                        "source": source,
                        "key": name,
                    }
                )
        body = _without_docstrings(text, tree)
        if MIN_FILE <= len(body) <= MAX_FILE and not _is_table(body):
            code.append({"text": body, "domain": "python_code", "source": name, "key": name})
    if not docstrings or not code:
        raise FileNotFoundError(
            "python_docstrings, python_code: no library sources found with this Python. "
            f"{_INSTALL_HINT}"
        )
    return docstrings + code


def docstrings_of(tree: ast.AST, prefix: str = ""):
    """Yield (qualified name, docstring) of a module, its classes and functions, in source order."""
    if isinstance(tree, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        docstring = ast.get_docstring(tree)
        if docstring:
            yield prefix, docstring
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.stmt | ast.ExceptHandler):
            name = (
                getattr(child, "name", None) if not isinstance(child, ast.ExceptHandler) else None
            )
            yield from docstrings_of(child, f"{prefix}.{name}".strip(".") if name else prefix)


def _without_docstrings(text: str, tree: ast.AST) -> str:
    """Source code less its docstrings, which are a corpus of their own. A body that is only one
    keeps it."""
    lines = text.split("\n")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is None or len(node.body) == 1:
            continue
        first = node.body[0]
        if (
            node.body[1].lineno > first.end_lineno
            and not lines[first.lineno - 1][: first.col_offset].strip()
        ):
            lines[first.lineno - 1 : first.end_lineno] = [None] * (
                first.end_lineno - first.lineno + 1
            )
    return "\n".join(line for line in lines if line is not None).strip() + "\n"


def _is_table(text: str) -> bool:
    """True for a file that is mostly numbers and punctuation, such as a list of character codes."""
    dense = "".join(text.split())
    return sum(character.isalpha() for character in dense) < 0.6 * len(dense)


def _within_budget(documents: list[dict]) -> list[dict]:
    """As many documents as fit CODE_BUDGET, picked by the hash of their source: mixed, and
    repeatable."""
    chosen, total = set(), 0
    for document in sorted(
        documents, key=lambda item: hashlib.blake2b(item["source"].encode()).digest()
    ):
        if total + len(document["text"]) <= CODE_BUDGET:
            total += len(document["text"])
            chosen.add(document["source"])
    return [document for document in documents if document["source"] in chosen]
