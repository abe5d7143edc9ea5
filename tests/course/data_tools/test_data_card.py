"""data/README.md is what the data says."""

import re

from moe_course.data_tools.data_card import _PYTHON, card
from moe_lib.paths import DATA
from moe_lib.text import corpus_names, load_corpus, load_tokenizer, task_names


def test_the_committed_page_matches_the_data():
    text = (DATA / "README.md").read_text(encoding="utf-8")
    assert text == card(), "run: python -m moe_course.data_tools.data_card"


def test_every_set_has_its_row_with_a_sample_and_links_lead_somewhere():
    text = card()
    for name in {*corpus_names(), *task_names()} - {"python", "mixture"}:
        row = next(
            line for line in text.split("\n") if line.startswith((f"| {name} |", f"| [{name}]("))
        )
        cells = re.split(r"(?<!\\)\|", row)[1:-1]
        assert len(cells) == 7 and all(cell.strip() for cell in cells), name
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (DATA / target).is_file(), target


def test_the_fixed_samples_are_true():
    for name, (_, start) in _PYTHON.items():
        corpus = load_corpus(name)
        assert any(text.startswith(start) for side in corpus.values() for text in side["text"]), (
            name
        )
    tokenizer = load_tokenizer()
    assert [
        tokenizer.decode([token])
        for token in tokenizer("1024", add_special_tokens=False)["input_ids"]
    ] == [*"1024"]
