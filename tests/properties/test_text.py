"""Packing, padding and masking give back what went in; readers read it, or name the file."""

import csv
import io
import json
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moe_lib.text import MaskingIds, mask_tokens, pack, pad_batch
from moe_lib.text.corpora.readers import FILE_TYPES, read_documents
from tests.properties.settings import few

lists = st.lists(st.lists(st.integers(3, 40), max_size=9), min_size=1, max_size=6)
filled = lists.filter(any)


@few
@given(filled, st.integers(1, 7))
def test_a_packed_stream_is_the_documents_in_order(documents, length):
    stream = list(chain.from_iterable([*tokens, 1] for tokens in documents))
    if len(stream) < length:
        with pytest.raises(ValueError, match="token_lists: "):
            pack(documents, length, 1)
        return
    packed = pack(documents, length, 1)
    used = len(stream) // length * length
    assert packed.input_ids.flatten().tolist() == stream[:used]
    whose = [number for number, tokens in enumerate(documents) for _ in (*tokens, 1)]
    assert packed.documents.flatten().tolist() == whose[:used]


@few
@given(filled, st.sampled_from(["left", "right"]), st.none() | st.integers(1, 12))
def test_what_is_padded_can_be_taken_out_again(documents, side, longest):
    ids, mask = pad_batch(documents, 0, side, longest)
    back = [row[real].tolist() for row, real in zip(ids, mask.bool(), strict=True)]
    assert back == [tokens[:longest] for tokens in documents]
    assert (ids[mask == 0] == 0).all()


@few
@given(filled, st.floats(0.01, 1.0), st.integers(0, 99))
def test_masking_leaves_specials_and_padding_alone(documents, share, seed):
    special = (0, 1, 2, 7)
    ids, mask = pad_batch(documents, 0)
    generator = torch.Generator().manual_seed(seed)
    corrupted, labels = mask_tokens(
        ids,
        MaskingIds(2, special, 41),
        probability=share,
        generator=generator,
        attention_mask=mask,
    )
    picked = labels != -100
    ordinary = (mask == 1) & ~torch.isin(ids, torch.tensor(special))
    assert not (picked & ~ordinary).any()
    assert torch.equal(corrupted[~picked], ids[~picked])
    assert torch.equal(labels[picked], ids[picked])
    new = corrupted[picked & (corrupted != 2)]
    assert not torch.isin(new, torch.tensor(special)).any()
    assert bool(picked.any()) == bool(ordinary.any())


# What a text file can hold: no zero byte, no half of a surrogate pair, and not blank.
alphabet = st.characters(exclude_categories=("Cs",), exclude_characters="\0\r\f\ufeff")
texts = st.text(alphabet, min_size=1, max_size=30).filter(lambda text: text.strip())
rows = st.lists(st.fixed_dictionaries({"text": texts}), min_size=1, max_size=5)


@few
@given(rows)
def test_rows_come_back_from_every_format(tmp_path, documents):
    wanted = [row["text"] for row in documents]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in documents)
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps(documents), encoding="utf-8")
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        out = io.StringIO()
        writer = csv.DictWriter(out, ["text"], delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(documents)
        (tmp_path / name).write_bytes(out.getvalue().encode())
    for name in ("a.jsonl", "a.json", "a.csv", "a.tsv"):
        assert [one["text"] for one in read_documents(tmp_path / name)] == wanted, name
    (tmp_path / "a.txt").write_text(wanted[0], encoding="utf-8", newline="")
    assert read_documents(tmp_path / "a.txt")[0]["text"] == wanted[0].strip("\n")


@few
@given(st.sampled_from(FILE_TYPES), st.binary(max_size=60))
def test_any_bytes_are_read_or_the_file_is_named(tmp_path, suffix, raw):
    path = tmp_path / f"any{suffix}"
    path.write_bytes(raw)
    try:
        documents = read_documents(path)
    except ValueError as error:
        assert str(path) in str(error)
        assert type(error) is ValueError, repr(error)
    else:
        assert all(one["text"].strip() for one in documents)
