"""Wrong files are refused by name: one table of them."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moe_lib.text import load_corpus, near_duplicate_groups
from moe_lib.text.corpora.near_duplicates import containers
from moe_lib.text.corpora.readers import read_documents
from tests.text.corpora.documents import ROWS, write_jsonl

NAN = float("nan")


def test_no_texts_and_few_words_are_no_error():
    assert near_duplicate_groups([]) == containers([]) == []
    assert near_duplicate_groups(["", "", "a", "?", "A!"]) == [0, 0, 2, 3, 2]
    assert near_duplicate_groups(("a b", "a  b", "b a"), threshold=1) == [0, 0, 2]


GOOD = b'{"text": "one two three"}\n'
DEEP = b"[" * 100_000
FILES = {
    "zeros.txt": (b"\0" * 40, "line 1 holds a zero byte"),
    "binary.txt": (b"a text\nand \0 then", "line 2 holds a zero byte"),
    "zeros.jsonl": (GOOD + b"\0\0", "line 2 holds a zero byte"),
    "little.txt": ("hello".encode("utf-16-le"), "line 1 holds a zero byte"),
    "big.txt": ("hello".encode("utf-16-be"), "line 1 holds a zero byte"),
    "mark.txt": ("hello".encode("utf-16"), "line 1 is not valid UTF-8 .*UTF-16.*save the file"),
    "mark.jsonl": (GOOD.decode().encode("utf-16"), "line 1 is not valid UTF-8"),
    "latin.csv": ("text\ncafé\n".encode("latin-1"), "line 2 is not valid UTF-8"),
    "latin.tsv": ("text\ncafé\n".encode("latin-1"), "line 2 is not valid UTF-8"),
    "latin.json": ('[{"text": "é"}]'.encode("latin-1"), "line 1 is not valid UTF-8"),
    "deep.jsonl": (GOOD + DEEP, "line 2: is not valid JSON .nested too deep"),
    "deep.json": (DEEP, "is not valid JSON .nested too deep"),
    "digits.json": (b'[{"text": %s}]' % (b"9" * 5_000), "is not valid JSON"),
    "number.json": (b"3", "holds int; wants a list of objects"),
    "text.json": (b'"text"', "holds str; wants a list of objects"),
    "null.json": (b"null", "holds NoneType; wants a list of objects"),
    "numbers.json": (b"[1, 2]", "row 1 is int; wants an object with fields"),
    "texts.json": (b'["a"]', "row 1 is str; wants an object with fields"),
    "list.json": (b'[{"text": ["a"]}]', 'row 1: "text" is list; wants text'),
    "object.json": (b'[{"text": {"a": 1}}]', 'row 1: "text" is dict; wants text'),
    "true.json": (b'[{"text": true}]', 'row 1: "text" is bool; wants text'),
    "null.jsonl": (GOOD + b"null", "line 2 is NoneType; wants an object"),
    "nothing.json": (b"[]", "has no documents; wants at least one"),
    "empty.json": (b"", "is empty"),
    "empty.csv": (b"", "is empty"),
    "mark_only.txt": (b"\xef\xbb\xbf", "is empty"),
    "domain.jsonl": (b'{"text": "a", "domain": ["b"]}', 'line 1: "domain" is list; wants text'),
    "domain_half.jsonl": (b'{"text": "a", "domain": "\\ud83d"}', 'line 1: "domain" has half'),
    "source.jsonl": (b'{"text": "a", "source": {"b": 1}}', 'line 1: "source" is dict; wants text'),
    "source_half.jsonl": (b'{"text": "a", "source": "\\udc00"}', 'line 1: "source" has half'),
    "id.jsonl": (b'{"text": "a", "id": [1]}', 'line 1: "id" is list; wants text'),
    "id_true.jsonl": (b'{"text": "a", "id": true}', 'line 1: "id" is bool; wants text'),
    "twice.csv": (b"text,text\na,b\n", "the header has 'text' twice"),
    "short.csv": (b"domain,text\na\n", 'row 1 has no "text"'),
    "open.csv": (b'text\n"a', "row 1 is not valid CSV"),
    "no_type": (b"text", "unknown file type ''; wants one of"),
    "book.pdf": (b"%PDF", "unknown file type '.pdf'; wants one of"),
    "a.parquet": (b"PAR1 and no more", "not a readable Parquet file"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file_is_named(tmp_path, name):
    content, words = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{re.escape(str(tmp_path / name))}: {words}"):
        load_corpus(tmp_path / name)


COLUMNS = {
    "numbers": (pa.array([1, 2]), 'row 1: "text" is int; wants text'),
    "bytes": (pa.array([b"a", b"b"]), 'row 1: "text" is bytes; wants text'),
    "lists": (pa.array([["a"], ["b"]]), 'row 1: "text" is list; wants text'),
    "a missing one": (pa.array(["a", None]), 'row 2 has no "text"'),
    "a blank one": (pa.array(["a", " "]), 'row 2: "text" is empty'),
    "floats": (pa.array(np.array([0.5, NAN])), 'row 1: "text" is float; wants text'),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_wrong_column_of_parquet_is_named(tmp_path, kind):
    column, words = COLUMNS[kind]
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=rf"a\.parquet: {words}"):
        load_corpus(tmp_path / "a.parquet")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet"])
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path, suffix):
    os.mkfifo(tmp_path / f"pipe{suffix}")
    with pytest.raises(ValueError, match=rf"pipe\{suffix}: is a folder, a pipe or a device"):
        load_corpus(tmp_path / f"pipe{suffix}")


def test_a_file_that_is_not_there_is_named(tmp_path):
    for path in (
        tmp_path / "a.txt",
        tmp_path / "a.jsonl",
        tmp_path / "b" / "c",
        tmp_path / "b.pdf",
    ):
        with pytest.raises(FileNotFoundError, match=re.escape(f"{path}: no such file")):
            load_corpus(path)
    (tmp_path / "link.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"link\.txt: no such file"):
        load_corpus(tmp_path / "link.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: has no documents\.jsonl and no \.txt files"):
        load_corpus(tmp_path / "empty")


def test_hidden_and_system_files_are_no_texts(tmp_path):
    for name in (
        "a.txt",
        "sub/b.txt",
        ".ipynb_checkpoints/a-checkpoint.txt",
        "sub/.hidden.txt",
        "._a.txt",
        "__MACOSX/a.txt",
        ".git/c.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"The text of {name}.")
    assert [one["source"] for one in read_documents(tmp_path)] == ["a.txt", "sub/b.txt"]
    hidden = tmp_path / ".notes"  # a hidden folder that is asked for by name is read
    hidden.mkdir()
    (hidden / "a.txt").write_text("Mine.")
    assert [one["text"] for one in read_documents(hidden)] == ["Mine."]


def test_a_byte_order_mark_is_no_text(tmp_path):
    plain, marked = tmp_path / "plain.txt", tmp_path / "marked.txt"
    plain.write_bytes("The list is long.\r\nÄ.".encode())
    marked.write_bytes("The list is long.\r\nÄ.".encode("utf-8-sig"))
    assert read_documents(plain)[0]["text"] == read_documents(marked)[0]["text"]
    rows = json.dumps([{"text": "a b"}]).encode("utf-8-sig")
    (tmp_path / "a.json").write_bytes(rows)
    assert read_documents(tmp_path / "a.json")[0]["text"] == "a b"


def test_names_in_rows_may_be_numbers(tmp_path):
    rows = [{**row, "domain": 7, "source": 1.5} for row in ROWS[:4]]
    document = read_documents(write_jsonl(tmp_path / "a.jsonl", rows))[1]
    assert (document["domain"], document["source"], document["key"]) == ("7", "1.5", "a:1")


def test_importing_text_brings_no_scikit_learn():
    code = (
        "import sys, moe_lib.text.corpora.near_duplicates, moe_lib.text.corpora.load, "
        "moe_lib.text.tasks; print([m for m in ('sklearn', 'scipy', 'datasets', 'torch') "
        "if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
