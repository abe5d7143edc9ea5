"""Files of every kind give the same documents, and a damaged one says where the damage is."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moe_lib.text import load_corpus
from tests.text.corpora.documents import ROWS, write_jsonl


def test_every_file_format_gives_the_same_documents(tmp_path):
    rows = [{"text": row["text"], "domain": "d"} for row in ROWS]
    write_jsonl(tmp_path / "a.jsonl", rows)
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.csv").write_text(
        "text,domain\n" + "".join(f'"{row["text"]}",d\n' for row in rows)
    )
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    expected = load_corpus(tmp_path / "a.jsonl")
    for name in ("a.json", "a.csv", "a.parquet"):
        got = load_corpus(tmp_path / name)
        for side in ("train", "heldout"):
            assert list(got[side]["text"]) == list(expected[side]["text"])
            assert set(got[side]["domain"]) == {"d"}
    assert list(got["train"]["source"])[0].startswith("a.parquet:")
    renamed = [{"body": row["text"]} for row in ROWS]
    other = load_corpus(write_jsonl(tmp_path / "c.jsonl", renamed), text_column="body")
    assert set(other["train"]["domain"]) == {"c"}


def test_text_files_and_folders(tmp_path):
    (tmp_path / "one.txt").write_text("A short letter.\n\nStill the same letter.", encoding="utf-8")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "two.txt").write_text(
        "First page.\fSecond page, quite another.", encoding="utf-8"
    )
    folder = load_corpus(tmp_path, held_out=0, split="train")
    assert list(folder["source"]) == ["one.txt", "sub/two.txt#1", "sub/two.txt#2"]
    paragraphs = [" ".join(f"p{n}w{i}" for i in range(100)) for n in range(30)]
    (tmp_path / "long.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    long = load_corpus(tmp_path / "long.txt")
    assert len(long["train"]) > 1 and len(long["heldout"]) >= 1
    pieces = {text for side in long.values() for text in side["text"]}
    assert sorted(p for piece in pieces for p in piece.split("\n\n")) == sorted(paragraphs)


GOOD = b'{"text": "one two three"}\n'
DAMAGED = {
    "utf8.jsonl": (
        GOOD * 16 + b'{"text": "\xff\xfe"}\n',
        r"utf8\.jsonl: line 17 is not valid UTF-8",
    ),
    "json.jsonl": (GOOD * 2 + b'{"text": "cut\n', r"json\.jsonl: line 3 is not valid JSON"),
    "column.jsonl": (
        GOOD * 11 + b'{"body": "x"}\n',
        r'column\.jsonl: line 12 has no "text"; it has .body',
    ),
    "number.jsonl": (GOOD + b'{"text": 5}\n', r'number\.jsonl: line 2: "text" is int'),
    "blank.jsonl": (GOOD + b'{"text": "  "}\n', r'blank\.jsonl: line 2: "text" is empty'),
    "list.jsonl": (GOOD + b"[1]\n", r"list\.jsonl: line 2 is list"),
    "surrogate.jsonl": (GOOD + b'{"text": "\\ud83d"}\n', r"surrogate\.jsonl: line 2: .*surrogate"),
    "empty.jsonl": (b"", r"empty\.jsonl: is empty"),
    "cut.json": (b'[{"text": "a"},\n{"text": ', r"cut\.json: line 2 is not valid JSON"),
    "object.json": (b'{"text": "a"}', r"object\.json: holds dict"),
    "column.csv": (b"body\nx\n", r'column\.csv: row 1 has no "text"'),
    "more.csv": (b"text\na\nb,c\n", r"more\.csv: row 2 has more fields"),
    "quote.csv": (b'text\na\n"b\n', r"quote\.csv: row 2 is not valid CSV"),
    "header.csv": (b"text\n", r"header\.csv: has no documents"),
    "utf8.txt": (
        b"fine\nfine\nbad \xe9 here",
        r"utf8\.txt: line 3 is not valid UTF-8 \(byte 0xe9\)",
    ),
    "utf16.txt": ("hello".encode("utf-16"), r"utf16\.txt: line 1 is not valid UTF-8"),
    "empty.txt": (b"\n \n", r"empty\.txt: is empty"),
    "empty.parquet": (b"", r"empty\.parquet: is empty"),
    "other.docx": (b"PK", r"other\.docx: unknown file type '\.docx'"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_names_itself_and_the_row(tmp_path, name):
    content, message = DAMAGED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_corpus(tmp_path / name)


def test_a_truncated_parquet_file_names_itself(tmp_path):
    path = tmp_path / "cut.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"cut\.parquet: not a readable Parquet file"):
        load_corpus(path)
    pq.write_table(pa.Table.from_pylist([{"text": "a b"}, {"text": None}]), path)
    with pytest.raises(ValueError, match=r'cut\.parquet: row 2 has no "text"'):
        load_corpus(path)
