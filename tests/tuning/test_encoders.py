"""Encoders of transformers as bases of heads, beside the same computed by transformers alone."""

import copy

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BertTokenizerFast,
    DistilBertConfig,
    DistilBertModel,
    LlamaConfig,
    LlamaModel,
    T5Config,
    T5Model,
)

from moe_lib.fetching import fetched
from moe_lib.interop import upcycle_transformers
from moe_lib.opening import open_model
from moe_lib.tuning import (
    Encoded,
    Examples,
    SequenceClassifier,
    SpanExtractor,
    TokenClassifier,
    encode_questions,
    encode_texts,
    finetune,
    measure,
)
from moe_lib.tuning.encoders import TransformersEncoder
from tests.tuning.small import padded, random_ids

CALM = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SIZES = {
    "vocab_size": 400,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
    "initializer_range": 0.2,
}
close = torch.testing.assert_close


def make_bert(seed=0, **changes):
    torch.manual_seed(seed)
    return BertModel(BertConfig(**{**SIZES, **CALM, **changes})).eval()


def make_examples(n=24, length=6):
    """The class is whether the first token is below 200."""
    ids = random_ids(n, length)
    rows = [{"input_ids": row, "labels": int(row[0] < 200)} for row in ids.tolist()]
    return Examples(Encoded(rows, pad_token_id=0), 8)


def small_tokenizer(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "where", "is", "my", "parcel", "?"]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    return BertTokenizerFast(str(tmp_path / "vocab.txt"))


@pytest.mark.parametrize("side", ("left", "right"))
def test_the_logits_are_those_of_a_mean_over_real_tokens(side):
    bert = make_bert()
    head = SequenceClassifier(bert, n_labels=3).eval()
    ids, mask = padded(random_ids(4, 7), 3, side)
    hidden = bert(input_ids=ids, attention_mask=mask).last_hidden_state
    means = torch.stack([row[at.bool()].mean(0) for row, at in zip(hidden, mask, strict=True)])
    wanted = means @ head.classifier.weight.T + head.classifier.bias
    close(head(ids, mask).logits, wanted)


def test_a_distilled_encoder_is_a_base_too():
    torch.manual_seed(0)
    base = DistilBertModel(DistilBertConfig(vocab_size=400, dim=16, n_layers=2, n_heads=2)).eval()
    head = SequenceClassifier(base, n_labels=3).eval()
    hidden = base(input_ids=random_ids(2, 5)).last_hidden_state
    close(head(random_ids(2, 5)).logits, head.classifier(hidden.mean(1)))


def test_finetune_trains_it_as_a_loop_of_torch_would():
    head = SequenceClassifier(make_bert(), n_labels=2)
    twin, batches = copy.deepcopy(head), make_examples()
    settings = {"warmup_steps": 0, "min_learning_rate_ratio": 1.0, "weight_decay": 0.0}
    finetune(head, batches, steps=5, learning_rate=1e-3, clip=1e9, **settings)
    trained = [p for p in twin.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, 1e-3, betas=(0.9, 0.95), weight_decay=0.0)
    for step in range(5):
        batch = batches.at(step)
        hidden = twin.base.model(batch["input_ids"], batch["attention_mask"]).last_hidden_state
        logits = twin.classifier(hidden.mean(1))  # all texts are of one length
        torch.nn.functional.cross_entropy(logits, batch["labels"]).backward()
        optimiser.step()
        optimiser.zero_grad()
    theirs = dict(twin.named_parameters())
    for name, mine in head.named_parameters():
        # A bias of the keys shifts all scores of a query alike: its gradient is 0 but for
        # rounding, and Adam makes steps of full size of that.
        if not name.endswith("key.bias"):
            close(mine, theirs[name], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("upcycled", (False, True))
def test_it_learns_and_puts_the_best_back(upcycled):
    base = upcycle_transformers(make_bert(), 4, 2) if upcycled else make_bert()
    head, batches = SequenceClassifier(base, n_labels=2), make_examples()
    run = finetune(
        head, batches, epochs=25, learning_rate=5e-3, validation=list(batches), patience=25
    )
    assert measure(head, batches)["accuracy"] > 0.95
    assert run.restored and run.history["validation_loss"].min() < 0.3
    assert (run.history["balance_loss"] > 0).all() == upcycled
    assert (run.history["max_violation"] > 0).any() == upcycled


def test_upcycled_it_says_what_its_twin_says_and_balances_its_experts():
    bert, (ids, mask) = make_bert(), padded(random_ids(3, 6), 2, "right")
    upcycled = TransformersEncoder(upcycle_transformers(bert, 4, 2), balance_factor=0.5)
    hidden, side = upcycled.hidden_states(ids, mask)
    plain, other = TransformersEncoder(bert).hidden_states(ids, mask)
    close(hidden[mask.bool()], plain[mask.bool()], atol=1e-5, rtol=1e-4)
    assert other.routing == [] and float(other.balance_loss) == 0
    total = 0.0
    real = [i for i, at in enumerate(mask.flatten().tolist()) if at]
    for routing in side.routing:  # E / (k·T) · count times mean score, by counting
        for expert in range(4):
            count = sum(expert in routing.experts[i].tolist() for i in real)
            share = sum(routing.scores[i, expert].item() for i in real) / len(real)
            total += 4 / (2 * len(real)) * count * share
    assert len(side.routing) == 2 and float(side.balance_loss) == pytest.approx(0.5 * total)
    side.balance_loss.backward()
    gates = [name for name, p in upcycled.named_parameters() if "gate" in name and p.grad is None]
    assert not gates


def test_other_heads_sit_on_it():
    ids = random_ids(2, 8)
    tags = TokenClassifier(make_bert(), n_labels=3)
    assert tags(ids, labels=ids % 3).logits.shape == (2, 8, 3)
    context = torch.tensor([[0, 0, 0, 1, 1, 2, 1, 1]] * 2)
    spans = SpanExtractor(make_bert(), match_vector=True, compare_question=True)
    output = spans(ids, context_mask=context, labels=torch.tensor([[3, 4], [-1, -1]]))
    output.loss.backward()
    assert output.logits.shape == (2, 9, 2) and spans.match_vector.grad.any()
    assert spans.base.embedding.weight.grad.any()


def test_texts_stand_between_cls_and_sep(tmp_path):
    tokenizer = small_tokenizer(tmp_path)
    texts = ["where is my parcel?", "is my parcel"]
    encoded = encode_texts(texts, [0, 1], tokenizer, label_names=["a", "b"])
    assert [row["input_ids"] for row in encoded.rows] == tokenizer(texts)["input_ids"]
    with pytest.warns(UserWarning, match="lost their end"):
        cut = encode_texts(texts, None, tokenizer, max_length=4)
    wanted = tokenizer(texts, max_length=4, truncation=True)["input_ids"]
    assert [row["input_ids"] for row in cut.rows] == wanted
    tokenizer.cls_token = None
    with pytest.raises(ValueError, match="tokenizer: .*cls and sep"):
        encode_texts(texts, None, tokenizer)


def test_questions_stand_between_cls_and_sep_and_their_answers_are_found(tmp_path):
    tokenizer = small_tokenizer(tmp_path)
    question, context = "where is my parcel?", "my parcel is where my parcel is ?"
    answer = {"text": ["where my"], "answer_start": [13]}
    encoded = encode_questions([question], [context], [answer], tokenizer, max_length=12, stride=2)
    for row in encoded.rows:  # windows of several tokens, none of the passage lost
        first = 1 + len(tokenizer.tokenize(question)) + 1
        start, end = row["offsets"][first][0], row["offsets"][-2][1]
        assert row["input_ids"] == tokenizer(question, context[start:end])["input_ids"]
        assert len(row["input_ids"]) <= 12 and row["context_mask"][first:-1] == [1] * (
            len(row["input_ids"]) - first - 1
        )
        if row["labels"] != [-1, -1]:
            begin, last = (row["offsets"][place] for place in row["labels"])
            assert context[begin[0] : last[1]] == "where my"
    assert any(row["labels"] != [-1, -1] for row in encoded.rows) and len(encoded.rows) > 1


def test_what_is_no_encoder_is_named():
    small = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    llama = LlamaModel(LlamaConfig(**small, num_attention_heads=2))
    t5 = T5Model(T5Config(vocab_size=40, d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8))
    for base in (llama, t5, BertForMaskedLM(make_bert().config)):
        with pytest.raises(ValueError, match=f"model: .*{type(base).__name__}.*wants an encoder"):
            SequenceClassifier(base, n_labels=2)
    with pytest.raises(TypeError, match="model: .*wants an encoder of transformers"):
        TransformersEncoder(torch.nn.Linear(2, 2))
    head = SequenceClassifier(make_bert(), n_labels=2)
    with pytest.raises(ValueError, match="input_ids: .*25 tokens.*at most 24"):
        head(random_ids(1, 25))
    with pytest.raises(ValueError, match="input_ids"):
        head(torch.full((1, 3), 400))


def test_minilm_learns_four_sentences():
    if fetched("minilm") is None:
        pytest.skip("minilm was not fetched: course.py models")
    model, tokenizer = open_model("minilm")
    texts = ["a warm day", "a cold day", "such heat", "such frost"]
    rows = encode_texts(texts, [0, 1, 0, 1], tokenizer, label_names=["warm", "cold"])
    head = SequenceClassifier(upcycle_transformers(model, 2, 1), n_labels=2)
    finetune(head, Examples(rows, 4), steps=6, learning_rate=2e-4)
    assert measure(head, Examples(rows, 4))["accuracy"] == 1
