"""What a masked language model expects where words of a text are hidden."""

from dataclasses import dataclass
from math import exp

import torch
from torch import nn

from moe_lib.errors import require
from moe_lib.modules import eval_mode
from moe_lib.tracing.token_labels import token_label
from moe_lib.tracing.traced_inputs import text_config
from moe_lib.validation import Count, Natural, Text, Tokenizer, checked

TOP = 5  # predictions kept per masked token


@dataclass(frozen=True)
class Word:
    """text: its characters; gap: the white space before it; first, last: its tokens, positions
    first to last - 1."""

    text: str
    gap: str
    first: int
    last: int


@dataclass(frozen=True)
class MaskedPrediction:
    """What the model expects at one masked position.

    position, word  of the masked token and of the word it belongs to, both counted from 0
    part            "" or "token 1 of 2" where the word has several
    true_id, true_label, true_rank  the token that was hidden; rank 1 is the model's first choice
    loss            minus the natural logarithm of the true token's probability, in nats
    ids, labels, probabilities      the TOP most probable tokens, best first
    """

    position: int
    word: int
    part: str
    true_id: int
    true_label: str
    true_rank: int
    loss: float
    ids: tuple[int, ...]
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]


@checked
def split_words(
    text: Text, tokenizer: Tokenizer, max_tokens: Count
) -> tuple[list[int], list[Word], str, int]:
    """Cut `text` into words of whole tokens -> (token ids, words, white space after the last word,
    tokens cut off).

    A word ends at white space and where letters or digits meet other signs. Nothing typed is read
    as a special token.
    """
    encoded = tokenizer(text, return_offsets_mapping=True, split_special_tokens=True, verbose=False)
    ids, ends = encoded["input_ids"], [end for _, end in encoded["offset_mapping"]]
    words, gap, shown = [], "", 0
    for position, end in enumerate(ends[:max_tokens]):
        piece, shown = text[shown:end], max(shown, end)
        body = piece.strip()
        joins = (
            words
            and not gap
            and (not piece or (body and piece[0] == body[0] and _alike(words[-1].text, body)))
        )
        if joins:  # an empty piece holds the last bytes of a character that is shown already
            words[-1] = Word(words[-1].text + body, words[-1].gap, words[-1].first, position + 1)
        elif body:
            words.append(Word(body, gap + piece[: piece.index(body)], position, position + 1))
            gap = ""
        if body or not joins:
            gap += piece[len(piece.rstrip()) :]
    return ids[:max_tokens], words, gap, max(0, len(ids) - max_tokens)


def _alike(left: str, right: str) -> bool:
    kinds = [character.isalnum() or character == "_" for character in (left[-1], right[0])]
    return kinds[0] == kinds[1]


@checked
@torch.no_grad()
def predict_masked(
    model: nn.Module,
    tokenizer: Tokenizer,
    ids: list[Natural],
    words: list[Word],
    masked: list[Natural],
) -> list[MaskedPrediction]:
    """Replace every token of the masked words by the mask token, run the model once, read the
    masked positions."""
    largest, size = max(ids, default=0), text_config(model).vocab_size
    require(largest < size, "ids", f"the id {largest}", f"ids from 0 to {size - 1} (vocab_size)")
    known = all(number < len(words) for number in masked)
    require(known, "masked", masked, f"numbers of words below {len(words)}")
    where = [
        (word, position)
        for word in masked
        for position in range(words[word].first, words[word].last)
    ]
    if not where:
        return []
    device = next(model.parameters()).device
    corrupted = torch.tensor([ids], device=device)  # (1, sequence)
    corrupted[0, [position for _, position in where]] = tokenizer.mask_token_id
    with eval_mode(model):
        logits = model(corrupted).logits[0]  # (sequence, vocab)
    found = []
    for word, position in where:
        log_probs = logits[position].float().log_softmax(-1).cpu()
        true = log_probs[ids[position]]
        best = log_probs.topk(TOP)
        first, last = words[word].first, words[word].last
        part = f"token {position - first + 1} of {last - first}" if last - first > 1 else ""
        found.append(
            MaskedPrediction(
                position,
                word,
                part,
                ids[position],
                token_label(tokenizer, ids[position]),
                int((log_probs > true).sum()) + 1,
                -float(true),
                tuple(best.indices.tolist()),
                tuple(token_label(tokenizer, token) for token in best.indices.tolist()),
                tuple(best.values.exp().tolist()),
            )
        )
    return found


def rows_of(prediction: MaskedPrediction) -> list[dict]:
    """The bars of one masked position: the most probable tokens, then the true one if it is not
    among them."""
    best = zip(prediction.ids, prediction.labels, prediction.probabilities, strict=True)
    rows = [
        {
            "rank": rank,
            "label": label,
            "probability": probability,
            "true": token == prediction.true_id,
        }
        for rank, (token, label, probability) in enumerate(best, start=1)
    ]
    if not any(row["true"] for row in rows):
        rows.append(
            {
                "rank": prediction.true_rank,
                "label": prediction.true_label,
                "probability": exp(-prediction.loss),
                "true": True,
            }
        )
    return rows
