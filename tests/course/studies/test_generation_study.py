"""The stored study of chapter 13: whole, and right where it can be checked cheaply."""

import pytest
import torch

from moe_course.checkpoints.generation_card import write_generation_card
from moe_course.studies import generation_study as study
from moe_course.studies.generation_tasks import (
    BEGINNINGS,
    TASKS,
    Lexicon,
    Nearest,
    lead_sentence,
    load_generation_data,
)
from moe_lib.files import read_json
from moe_lib.training import load_checkpoint
from moe_lib.tuning.prompting import STYLES, Translator


@pytest.fixture(scope="module")
def stored():
    return read_json(study.STUDY)


@pytest.fixture(scope="module")
def data():
    return load_generation_data()


def test_every_run_is_there_once(stored):
    assert [run["seed"] for run in stored["runs"]] == list(range(study.SEEDS))
    assert all(run["steps"] == study.STEPS and set(TASKS) <= set(run) for run in stored["runs"])
    assert (
        stored["about"]["weights"] == study.WEIGHTS
        and stored["about"]["learning_rate"] == study.LEARNING_RATE
    )


def test_first_steps_come_out_again(stored, data):
    first = stored["runs"][0]["first_losses"]
    run, _ = study.train_one(0, data, stop_after=2)
    assert run.history["loss"].tolist() == pytest.approx(first[:2], rel=0.05)


def test_the_shipped_checkpoint_translates_as_stored(stored, data):
    """Half of the sentences: near the stored figure for all of them."""
    pairs = {"known_patterns": data.pairs["known_patterns"][::2]}
    translator = Translator(*load_checkpoint("mini-v2-prompted"))
    bleu = study.measure_translation(translator, pairs, ["known_patterns"])["known_patterns"][
        "bleu"
    ]
    assert bleu == pytest.approx(stored["runs"][0]["translate"]["known_patterns"]["bleu"], abs=10)
    assert (study.CHECKPOINT / "model.safetensors").stat().st_size < 8_000_000


def test_sentences_kept_back_are_not_trained_on(data):
    trained = {chat[1]["content"] for chat in data.chats["translate"]}
    for split in ("known_patterns", "test_combinations", "test_free"):
        assert not trained & {pair["en"] for pair in data.pairs[split]}
    assert {pair["en"] for pair in data.pairs["seen"]} <= trained and len(
        data.pairs["known_patterns"]
    ) > 100


def test_baselines_come_out_again(stored, data):
    baseline = stored["baselines"]
    lead = study.measure_summaries(
        [lead_sentence(row["text"]) for row in data.summaries], data.summaries
    )
    assert lead == pytest.approx(baseline["summarise"]["lead"], abs=1e-3)
    lexicon = Lexicon()
    found = study.measure_translation(lambda texts: [lexicon(text) for text in texts], data.pairs)
    assert found["test_free"] == pytest.approx(
        baseline["translate"]["lexicon"]["test_free"], abs=1e-3
    )


def test_the_card_holds_the_studys_figures(stored, tmp_path):
    card = write_generation_card(stored, tmp_path).read_text(encoding="utf-8")
    assert card == (study.CHECKPOINT / "README.md").read_text(encoding="utf-8")
    assert f"{stored['runs'][0]['translate']['test_free']['bleu']:.1f}" in card
    assert all(len(line) <= 250 for line in card.splitlines())


def test_a_lexicon_takes_the_longest_entry_and_leaves_out_what_it_lacks(tmp_path):
    path = tmp_path / "lexicon.tsv"
    rows = [
        "class\ten\tzh\tfeatures\ttags",
        "x\tfeed the cat\t喂猫\tpast=fed the cat\t",
        "x\tcat\t猫\t\t",
        "x\twe\t我们\tobj=us\t",
    ]
    path.write_text("\n".join(rows), encoding="utf-8")
    lexicon = Lexicon(path)
    assert lexicon("We fed the cat.") == "我们喂猫。" and lexicon("A cat saw us?") == "猫我们？"


def test_nearest_ranks_by_shared_words():
    nearest = Nearest(["red wool coat", "blue lamp", "red lamp"], ["a", "b", "c"])
    assert nearest.ranked(["a red coat", "a lamp, red"], 2) == [["a", "c"], ["c", "b"]]
    with pytest.raises(ValueError, match="values"):
        Nearest(["a"], [])


def test_styles_are_measured_against_a_control():
    written = [(style, style) for style in STYLES]
    assert study.measure_styles(written, list) == {"asked": 1.0, "another": 0.0}
    turned = [(style, list(STYLES)[(place + 1) % 4]) for place, style in enumerate(STYLES)]
    assert study.measure_styles(turned, list) == {"asked": 0.0, "another": 1.0}
    assert len(set(BEGINNINGS)) == 12


def test_recommending_is_measured_by_rank():
    requests = [{"product_ids": ["P2"]}, {"product_ids": ["P1", "P3"]}]
    scores = {"sum": torch.tensor([[0.0, 3, 1], [5.0, 0, 1]])}
    found = study.measure_recommending(scores, requests, ["P1", "P2", "P3"])
    assert found == {"sum": {"recall_at_1": 0.75, "recall_at_5": 1.0}}
