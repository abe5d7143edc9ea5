"""Corpora: the split leaks nothing and is stable; names, limits, the Hub and the cache."""

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict

import pytest

from moe_lib.text import corpus_names, load_corpus, near_duplicate_groups
from moe_lib.text.corpora import load as corpora
from moe_lib.text.corpora import python_sources
from moe_lib.text.corpora.arrow_cache import cached_dataset
from tests.text.corpora.documents import ROWS, write_jsonl


@pytest.fixture(scope="module")
def python_corpus():
    return load_corpus("python")


def shingles(text):
    """Three-word shingles as plain tuples of words."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return set(zip(words, words[1:], words[2:], strict=False))


def test_builtin_corpora_have_their_columns_domains_and_size(python_corpus):
    for side in ("train", "heldout"):
        assert python_corpus[side].column_names == ["text", "domain", "source"]
        assert set(python_corpus[side]["domain"]) == set(python_sources.DOMAINS)
        assert all(text.strip() for text in python_corpus[side]["text"])
    characters = Counter()
    for side in python_corpus.values():
        for text, domain in zip(side["text"], side["domain"], strict=True):
            characters[domain] += len(text)
    assert characters["python_reference"] > 200_000
    assert characters["python_docstrings"] > 800_000
    assert 1_500_000 < characters["python_code"] <= python_sources.CODE_BUDGET


def test_sources_name_the_library_and_not_this_machine(python_corpus):
    for side in python_corpus.values():
        for source in side["source"]:
            assert not os.path.isabs(source) and "\\" not in source
            assert "site-packages" not in source and "_sysconfigdata" not in source
        assert not any(sys.prefix in text or sys.base_prefix in text for text in side["text"])


def test_no_near_copy_on_both_sides(python_corpus):
    heldout = [shingles(text) for text in python_corpus["heldout"]["text"]]
    everything_held_out = set().union(*heldout)
    sizes, owners = [], defaultdict(list)
    for index, text in enumerate(python_corpus["train"]["text"]):
        members = shingles(text)
        sizes.append(len(members))
        for shingle in members & everything_held_out:
            owners[shingle].append(index)
    compared = 0
    for number, mine in enumerate(heldout):
        shared = Counter(index for shingle in mine for index in owners[shingle])
        for index, common in shared.items():
            compared += 1
            similarity = common / (len(mine) + sizes[index] - common)
            assert similarity < 0.5, (number, python_corpus["train"][index]["source"])
    assert compared > 1000
    assert not set(python_corpus["train"]["text"]) & set(python_corpus["heldout"]["text"])


def test_docstrings_and_code_of_one_file_are_on_one_side(python_corpus):
    def files(side):
        sources = python_corpus[side]["source"]
        return {source.split("#")[0] for source in sources if not source.startswith("topics/")}

    assert files("train") and files("heldout") and not files("train") & files("heldout")


def test_a_part_is_split_as_in_the_whole(python_corpus):
    part = load_corpus("python_reference")
    for side in ("train", "heldout"):
        whole = python_corpus[side]
        expected = [source for source in whole["source"] if source.startswith("topics/")]
        assert list(part[side]["source"]) == expected


def test_limit_is_repeatable_and_split_returns_one_side():
    first = load_corpus("python_docstrings", limit=50)
    second = load_corpus("python_docstrings", limit=50)
    assert len(first["train"]) + len(first["heldout"]) == 50
    assert list(first["train"]["source"]) == list(second["train"]["source"])
    alone = load_corpus("python_docstrings", limit=50, split="heldout", domain="other")
    assert list(alone["text"]) == list(first["heldout"]["text"])
    assert set(alone["domain"]) == {"other"} and alone.column_names == ["text", "domain", "source"]


def test_split_depends_on_the_document_and_not_on_its_place(tmp_path):
    forward = load_corpus(write_jsonl(tmp_path / "a.jsonl", ROWS))
    (tmp_path / "b").mkdir()
    backward = load_corpus(write_jsonl(tmp_path / "b" / "a.jsonl", ROWS[::-1]))
    assert set(forward["heldout"]["text"]) == set(backward["heldout"]["text"])
    assert 1 <= len(forward["heldout"]) <= 15
    more = load_corpus(write_jsonl(tmp_path / "b" / "a.jsonl", ROWS[5:]))
    assert set(more["heldout"]["text"]) <= set(forward["heldout"]["text"])


def test_split_is_the_same_in_another_process(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", ROWS)
    code = (
        "import sys; from moe_lib.text import load_corpus; "
        "print('|'.join(load_corpus(sys.argv[1], split='heldout')['source']))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    output = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout
    assert output.strip() == "|".join(load_corpus(path, split="heldout")["source"])


def test_near_copies_in_a_file_stay_together(tmp_path):
    words = [f"word{n}" for n in range(40)]
    rows = [{"text": " ".join([*words[:n], "changed", *words[n + 1 :]])} for n in range(20)] + ROWS
    sides = load_corpus(write_jsonl(tmp_path / "a.jsonl", rows), held_out=0.5)
    where = {
        side
        for side in sides
        for text in sides[side]["text"]
        if "word1 " in text or "word30" in text
    }
    assert len(where) == 1


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_near_duplicates_equal_comparing_all_pairs(threshold):
    import random

    rng = random.Random(3)
    texts = []
    for _ in range(25):
        words = [f"v{rng.randrange(30)}" for _ in range(rng.randrange(1, 40))]
        texts.append(" ".join(words))
        for _ in range(rng.randrange(4)):
            edited = [word if rng.random() > 0.1 else f"v{rng.randrange(30)}" for word in words]
            texts.append(" ".join(edited))

    def naive_set(text):
        words = text.split()
        return (
            {tuple(words)}
            if len(words) < 3
            else set(zip(words, words[1:], words[2:], strict=False))
        )

    sets = [naive_set(text) for text in texts]
    group = list(range(len(texts)))
    for second in range(len(texts)):
        for first in range(second):
            common, union = len(sets[first] & sets[second]), len(sets[first] | sets[second])
            if common / union >= threshold and group[first] != group[second]:
                low, high = sorted((group[first], group[second]))
                group = [low if number == high else number for number in group]
    assert near_duplicate_groups(texts, threshold) == group
    assert 1 < len(set(group)) < len(texts)


@pytest.mark.parametrize(
    "name, digest",
    [
        ("stories", "a1766d8d1dc03403"),
        ("chinese", "b3537d80b0d64c60"),
        ("science_notes", "3e6a4b5ea9c593f8"),
    ],
)
def test_the_split_of_a_written_corpus_stays(name, digest):
    """Which documents are held out is a contract: trained checkpoints have not seen them."""
    held = "\n".join(sorted(load_corpus(name, split="heldout")["source"]))
    assert hashlib.sha256(held.encode()).hexdigest()[:16] == digest


def test_chinese_near_copies_are_found():
    text = "小明每天早上六点起床,先在院子里跑步,然后和奶奶一起吃早饭。"
    other = "市场今天收盘上涨,投资者情绪明显好转。"
    assert near_duplicate_groups([text, text.replace("六", "七"), other]) == [0, 0, 2]


def test_a_written_corpus_is_found_by_name(tmp_path, monkeypatch):
    (tmp_path / "corpora" / "letters").mkdir(parents=True)
    rows = [{"id": f"l{n}", "text": row["text"], "source": "ours"} for n, row in enumerate(ROWS)]
    write_jsonl(tmp_path / "corpora" / "letters" / "documents.jsonl", rows)
    monkeypatch.setattr(corpora, "DATA", tmp_path)
    assert "letters" in corpus_names()
    train = load_corpus("letters", split="train")
    assert set(train["domain"]) == {"letters"} and set(train["source"]) == {"ours"}


def test_wrong_arguments_say_what_is_wanted(tmp_path):
    with pytest.raises(ValueError, match="'wikitext', which is neither.*python_code"):
        load_corpus("wikitext")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt: no such file"):
        load_corpus(tmp_path / "nowhere.txt")
    with pytest.raises(ValueError, match="no .txt files"):
        load_corpus(tmp_path)
    with pytest.raises(ValueError, match="split: got 'test'"):
        load_corpus("python", split="test")
    with pytest.raises(ValueError, match="limit: got 0"):
        load_corpus("python", limit=0)
    with pytest.raises(ValueError, match="held_out: got 1"):
        load_corpus("python", held_out=1)
    (tmp_path / "one.txt").write_text("Only one document.")
    with pytest.raises(ValueError, match=r"one\.txt: held_out: all documents are one"):
        load_corpus(tmp_path / "one.txt")


def test_a_hub_data_set_through_the_same_call(monkeypatch):
    import datasets

    rows = [{"text": row["text"]} for row in ROWS] + [{"text": ""}]
    asked = []

    def fake(name, config):
        asked.append((name, config))
        return datasets.DatasetDict({"train": datasets.Dataset.from_list(rows)})

    monkeypatch.setattr(datasets, "load_dataset", fake)
    sides = load_corpus("hub:somebody/stories:small")
    assert asked == [("somebody/stories", "small")]
    assert len(sides["train"]) + len(sides["heldout"]) == len(ROWS)
    assert set(sides["train"]["domain"]) == {"somebody/stories"}
    with pytest.raises(ValueError, match='has no "body"'):
        load_corpus("hub:somebody/stories", text_column="body")


def test_a_hub_data_set_out_of_reach_says_what_the_course_has(monkeypatch):
    import datasets

    def offline(*arguments):
        raise datasets.exceptions.DatasetNotFoundError("no network\nand more lines")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(
        ConnectionError, match=r"hub:a/b: .*\(no network\).*python_reference"
    ) as caught:
        load_corpus("hub:a/b")
    assert "\n" not in str(caught.value)


def test_a_python_without_its_sources_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(python_sources.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(FileNotFoundError, match="Install a full Python"):
        python_sources._library_documents()
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(FileNotFoundError, match="pydoc_data.topics. Install a full Python"):
        python_sources.reference_documents()


def test_cache_is_reused_repaired_and_optional(tmp_path):
    from datasets import Dataset

    calls = []

    def build():
        calls.append(1)
        return Dataset.from_dict({"text": ["a", "b"]})

    for _ in range(2):
        assert list(cached_dataset(tmp_path, "x", build)["text"]) == ["a", "b"]
    assert len(calls) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    for path in (tmp_path / "x").glob("*.arrow"):
        path.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="not a readable cache"):
        assert list(cached_dataset(tmp_path, "x", build)["text"]) == ["a", "b"]
    assert len(calls) == 2
    for path in (tmp_path / "x").glob("*.arrow"):  # one letter of a text, no more: still Arrow
        path.write_bytes(path.read_bytes().replace(b"ab", b"ac"))
    with pytest.warns(UserWarning, match="arrow is not as it was saved"):
        assert list(cached_dataset(tmp_path, "x", build)["text"]) == ["a", "b"]
    assert len(calls) == 3
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cannot keep a cache there"):
        assert list(cached_dataset(tmp_path / "file", "x", build)["text"]) == ["a", "b"]


def test_a_killed_writer_leaves_no_cache(tmp_path):
    from datasets import Dataset

    class Killed(BaseException):
        pass

    class Dying:
        def save_to_disk(self, folder):
            os.makedirs(folder)
            raise Killed

    with pytest.raises(Killed):
        cached_dataset(tmp_path, "x", Dying)
    assert not (tmp_path / "x").exists()
    (tmp_path / ".unfinished-left" / "dataset").mkdir(parents=True)  # as left by kill -9
    assert list(
        cached_dataset(tmp_path, "x", lambda: Dataset.from_dict({"text": ["a"]}))["text"]
    ) == ["a"]
    assert (tmp_path / "x").is_dir()


def test_the_mixture_keeps_every_document_on_its_side_and_its_domain():
    names = [name for name in corpus_names() if name not in ("python", "mixture", "package_docs")]
    whole = load_corpus("mixture")
    for side in ("train", "heldout"):
        parts = [row for name in names for row in load_corpus(name, split=side)]
        assert sorted(map(str, whole[side])) == sorted(map(str, parts))
        assert set(whole[side]["domain"]) == set(names)
    assert len(load_corpus("mixture", limit=3, held_out=0.0)["train"]) == 3 * (len(names) - 3 + 1)
