"""Packing, padding, masking and batches, against naive loops, binomial bounds and transformers."""

import math
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import DataCollatorForLanguageModeling

from moe_lib.text import (
    Batches,
    MaskingIds,
    Packed,
    encode_corpus,
    evaluation_batches,
    load_corpus,
    load_tokenizer,
    mask_tokens,
    pack,
    pad_batch,
)

IDS = MaskingIds(mask_token_id=2, special_ids=tuple(range(16)), vocab_size=500)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def ordinary_rows(rows=200, columns=128, seed=1):
    return torch.randint(16, 500, (rows, columns), generator=generator(seed))


def within_binomial(count, trials, probability):
    """Five standard deviations: a fair draw fails this about once in two million."""
    return abs(count - trials * probability) < 5 * math.sqrt(
        trials * probability * (1 - probability)
    )


def test_pack_equals_a_naive_loop():
    rng = random.Random(0)
    lists = [[rng.randrange(16, 500) for _ in range(rng.randrange(0, 30))] for _ in range(40)]
    stream = [(token, index) for index, tokens in enumerate(lists) for token in [*tokens, 1]]
    packed = pack(lists, 7, 1)
    rows = [stream[start : start + 7] for start in range(0, len(stream) - 6, 7)]
    assert packed.input_ids.tolist() == [[token for token, _ in row] for row in rows]
    assert packed.documents.tolist() == [[index for _, index in row] for row in rows]
    assert packed.input_ids.dtype == packed.documents.dtype == torch.int64 and len(packed) == len(
        rows
    )


def test_pack_refuses_too_little_text():
    with pytest.raises(ValueError, match="token_lists: got '4 tokens .*wants enough"):
        pack([[5, 6, 7]], 8, 1)
    with pytest.raises(ValueError, match="0 tokens"):
        pack([], 8, 1)
    for length, end in ((2.5, 1), (4, -1), (True, 1)):
        with pytest.raises((ValueError, TypeError), match="(sequence_length|end_token_id): got"):
            pack([[5, 6, 7]], length, end)
    with pytest.raises(ValueError, match="sequence_length: got 0"):
        pack([[5]], 0, 1)
    assert pack([[], []], 2, 1).input_ids.tolist() == [[1, 1]]


def test_pad_batch_by_hand():
    ids, mask = pad_batch([[5, 6, 7], [8]], 0)
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]] and mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    ids, mask = pad_batch([[5, 6, 7], [8], []], 0, side="left", max_length=2)
    assert ids.tolist() == [[5, 6], [0, 8], [0, 0]] and mask.tolist() == [[1, 1], [0, 1], [0, 0]]
    with pytest.raises(ValueError, match="side: got 'top'"):
        pad_batch([[1]], 0, side="top")
    with pytest.raises(ValueError, match="token_lists"):
        pad_batch([], 0)
    with pytest.raises(ValueError, match="max_length: got 0"):
        pad_batch([[1]], 0, max_length=0)


def test_encode_corpus_keeps_domains_and_reads_text_literally():
    from datasets import Dataset

    tokenizer = load_tokenizer()
    texts = ["one <|end|> two three", "four five six seven eight nine"]
    packed = encode_corpus(Dataset.from_dict({"text": texts, "domain": ["b", "a"]}), tokenizer, 4)
    assert packed.domains == ("b", "a")
    numbers, names = packed.domain_ids()
    assert names == ["a", "b"]
    assert torch.equal(numbers, 1 - packed.documents)
    first = packed.input_ids.flatten()[packed.documents.flatten() == 0].tolist()
    assert first.count(tokenizer.eos_token_id) == 1 and tokenizer.decode(first[:-1]) == texts[0]
    with pytest.raises(ValueError, match="dataset: got .*wants a dataset with 'domain'"):
        encode_corpus(Dataset.from_dict({"text": texts}), tokenizer, 4)
    with pytest.raises(ValueError, match="domains"):
        pack([[5] * 8], 4, 1).domain_ids()


@pytest.mark.parametrize("probability", [0.15, 0.4])
def test_masking_statistics(probability):
    rows = ordinary_rows(400)
    corrupted, labels = mask_tokens(rows, IDS, probability=probability, generator=generator())
    picked = labels != -100
    count = int(picked.sum())
    assert within_binomial(count, rows.numel(), probability)
    assert torch.equal(labels[picked], rows[picked])
    assert torch.equal(corrupted[~picked], rows[~picked])
    masked = corrupted[picked] == 2
    same = corrupted[picked] == rows[picked]
    replaced = ~masked & ~same
    chance = 1 / 484  # a random replacement is the old token this often
    assert within_binomial(int(masked.sum()), count, 0.8)
    assert within_binomial(int(replaced.sum()), count, 0.1 * (1 - chance))
    assert within_binomial(int(same.sum()), count, 0.1 * (1 + chance))
    assert int(corrupted[picked][replaced].min()) >= 16  # never a special token
    assert len(set(corrupted[picked][replaced].tolist())) > 200  # and from the whole vocabulary


def test_masking_agrees_with_transformers():
    tokenizer = load_tokenizer()
    rows = torch.randint(16, len(tokenizer), (300, 64), generator=generator(5))
    rows[:, -1] = tokenizer.eos_token_id
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15, seed=3)
    theirs = collator([{"input_ids": row} for row in rows])
    ours, our_labels = mask_tokens(rows, tokenizer, generator=generator())
    for corrupted, labels in ((theirs["input_ids"], theirs["labels"]), (ours, our_labels)):
        picked = labels != -100
        assert within_binomial(int(picked.sum()), 300 * 63, 0.15)
        assert not picked[:, -1].any()  # the end token is special
        assert torch.equal(labels[picked], rows[picked]) and torch.equal(
            corrupted[~picked], rows[~picked]
        )
        is_mask = corrupted[picked] == tokenizer.mask_token_id
        assert within_binomial(int(is_mask.sum()), int(picked.sum()), 0.8)
        kept = corrupted[picked] == rows[picked]
        assert within_binomial(int(kept.sum()), int(picked.sum()), 0.1)


def test_special_tokens_and_padding_are_never_picked():
    rows = torch.randint(0, 500, (100, 64), generator=generator(2))
    attention_mask = (torch.rand(100, 64, generator=generator(3)) < 0.7).long()
    corrupted, labels = mask_tokens(
        rows, IDS, probability=1.0, generator=generator(), attention_mask=attention_mask
    )
    allowed = (rows >= 16) & attention_mask.bool()
    assert torch.equal(labels != -100, allowed)
    assert torch.equal(corrupted[~allowed], rows[~allowed])


def test_at_least_one_token_is_picked_where_there_is_one():
    row = torch.tensor([[0, 1, 77, 3]])
    for seed in range(50):
        _, labels = mask_tokens(row, IDS, probability=0.001, generator=generator(seed))
        assert labels.tolist() == [[-100, -100, 77, -100]]
    _, labels = mask_tokens(torch.tensor([[0, 1, 2]]), IDS, generator=generator())
    assert (labels == -100).all()
    corrupted, labels = mask_tokens(
        torch.empty(0, 4, dtype=torch.int64), IDS, generator=generator()
    )
    assert corrupted.shape == labels.shape == (0, 4)


def test_masking_leaves_its_input_and_the_global_random_state_alone():
    rows = ordinary_rows(4)
    before, state = rows.clone(), torch.get_rng_state()
    first = mask_tokens(rows, IDS, generator=generator(9))
    assert torch.equal(rows, before) and torch.equal(torch.get_rng_state(), state)
    second = mask_tokens(rows, IDS, generator=generator(9))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


def test_masking_works_on_transposed_rows():
    rows = ordinary_rows(8, 16).T
    _, labels = mask_tokens(rows, IDS, probability=1e-9, generator=generator())
    assert (labels != -100).sum() == 1


def test_masking_refuses_wrong_input():
    rows = ordinary_rows(2)
    with pytest.raises(ValueError, match="probability: got 0"):
        mask_tokens(rows, IDS, probability=0, generator=generator())
    with pytest.raises(ValueError, match=r"attention_mask: got \(2, 3\); wants shape \(2, 128\)"):
        mask_tokens(rows, IDS, generator=generator(), attention_mask=torch.ones(2, 3))
    with pytest.raises(ValueError, match="input_ids: got .*wants .* 0 to 499"):
        mask_tokens(rows + 400, IDS, generator=generator())


def same(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def test_every_epoch_uses_every_row_once_in_a_new_order():
    rows = torch.arange(16, 16 + 23 * 4).reshape(23, 4)
    batches = Batches(rows, 5, seed=4)
    assert len(batches) == 5
    orders = []
    for epoch in range(3):
        seen = torch.cat([batches.at(epoch * 5 + position)["input_ids"] for position in range(5)])
        orders.append(seen[:, 0].tolist())
        assert sorted(orders[-1]) == rows[:, 0].tolist()
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert [same(a, batches.at(step)) for step, a in enumerate(batches)] == [True] * 5
    assert not same(Batches(rows, 5, seed=5).at(0), batches.at(0))


def test_causal_labels_are_the_inputs_and_padding_is_ignored():
    ids, mask = pad_batch([[20, 21, 22], [23]], 0)
    batch = Batches(ids, 2, attention_mask=mask).at(0)
    assert set(batch) == {"input_ids", "labels", "attention_mask"}
    assert torch.equal(
        batch["labels"], batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    )
    whole = Batches(ids, 2, attention_mask=torch.ones_like(ids)).at(0)
    assert set(whole) == {"input_ids", "labels"} and torch.equal(
        whole["labels"], whole["input_ids"]
    )


def test_a_batch_depends_on_seed_and_step_alone():
    rows = ordinary_rows(50, 32)
    batches = Batches(rows, 8, seed=3, objective="masked", tokenizer=IDS)
    straight = [batches.at(step) for step in range(20)]
    torch.manual_seed(99)
    resumed = Batches(rows, 8, seed=3, objective="masked", tokenizer=IDS)
    for step in (19, 0, 7, 7, 13):
        assert same(resumed.at(step), straight[step])
    one_row = Batches(rows[:1], 1, objective="masked", tokenizer=IDS)
    assert not torch.equal(one_row.at(0)["labels"], one_row.at(1)["labels"])  # new masks every step


def test_evaluation_masks_belong_to_the_row():
    rows = ordinary_rows(21, 32)
    small = evaluation_batches(rows, 2, objective="masked", tokenizer=IDS)
    large = evaluation_batches(rows[:16], 16, objective="masked", tokenizer=IDS)
    assert len(small) == 11 and len(large) == 1
    labels = torch.cat([batch["labels"] for batch in small])
    assert torch.equal(labels[:16], large[0]["labels"])
    assert ((labels != -100).sum(1) >= 1).all()
    causal = torch.cat([batch["input_ids"] for batch in evaluation_batches(rows, 4)])
    assert torch.equal(causal, rows)


def test_batches_refuse_wrong_arguments():
    rows = ordinary_rows(4)
    for arguments, message in (
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"batch_size": 2, "objective": "both"}, "objective: got 'both'"),
        ({"batch_size": 2, "seed": -1}, "seed: got -1"),
        ({"batch_size": 2, "attention_mask": torch.ones(1, 1)}, "attention_mask: got .1, 1."),
    ):
        with pytest.raises(ValueError, match=message):
            Batches(rows, **arguments)
    with pytest.raises(ValueError, match="packed_or_input_ids"):
        Batches(torch.empty(0, 4, dtype=torch.int64), 2)
    with pytest.raises(TypeError, match="packed_or_input_ids: got torch.float32"):
        Batches(torch.ones(2, 4), 2)
    for tokenizer in (None, "course"):
        with pytest.raises(TypeError, match=f"tokenizer: got {tokenizer!r}"):
            Batches(rows, 2, objective="masked", tokenizer=tokenizer)
    with pytest.raises(TypeError, match=r"attention_mask: got \[\[1\]\]"):
        Batches(rows, 2, attention_mask=[[1]])
    with pytest.raises(ValueError, match="seed: got -1"):
        evaluation_batches(rows, 2, seed=-1)
    with pytest.raises(ValueError, match="step: got -1"):
        Batches(rows, 2).at(-1)


def test_real_text_end_to_end():
    tokenizer = load_tokenizer()
    packed = encode_corpus(load_corpus("python_reference", split="heldout"), tokenizer, 64)
    assert isinstance(packed, Packed)
    batch = Batches(packed, 4, objective="masked", tokenizer=tokenizer).at(0)
    picked = batch["labels"] != -100
    restored = torch.where(picked, batch["labels"], batch["input_ids"])
    assert all(row in packed.input_ids.tolist() for row in restored.tolist())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_masks_are_the_same_on_a_gpu():
    rows = ordinary_rows(8)
    cpu = mask_tokens(rows, IDS, generator=generator(1))
    gpu = mask_tokens(rows.cuda(), IDS, generator=generator(1))
    assert gpu[0].is_cuda and all(torch.equal(a, b.cpu()) for a, b in zip(cpu, gpu, strict=True))


def test_importing_the_package_stays_light():
    code = (
        "import sys, moe_lib.text; print({'torch', 'datasets', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_ids_of_other_kinds_are_taken():
    expected = pack([[3, 4], [5]], 2, 1).input_ids
    for lists in (
        [np.array([3, 4]), np.array([5], dtype=np.int32)],
        [torch.tensor([3, 4]), torch.tensor([5])],
        ((3, 4), (5,)),
    ):
        assert torch.equal(pack(lists, 2, 1).input_ids, expected)
        assert pad_batch(lists, 0)[0].tolist() == [[3, 4], [5, 0]]
