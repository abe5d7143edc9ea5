"""A text as a model reads it: its tokens, their routing, and what the model expected at each of
them."""

from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.model_inputs import check_vocabulary
from moe_lib.modules import as_written, bare, eval_mode
from moe_lib.tracing.capture import trace_routing, traced_forward
from moe_lib.tracing.interventions.changing_k import experts_per_token
from moe_lib.tracing.interventions.switching_off import experts_off
from moe_lib.tracing.token_labels import cut_at_offsets, require_fast, token_label
from moe_lib.tracing.trace import RoutingTrace
from moe_lib.tracing.traced_inputs import text_config
from moe_lib.validation import Count, Natural, Text, checked

TOP = 3  # predictions kept per position
_TOKENS_PER_PASS = (
    1024  # of the passes that mask tokens: enough to keep a CPU busy, little enough memory
)
_MASKING_BUDGET = (
    2048  # tokens to run for a masked model's predictions, unless that masks more than 1 in 4
)


@dataclass(frozen=True)
class Prediction:
    """What a model expected at one position.

    ids            the TOP most probable tokens, best first
    labels         the same tokens as strings with visible spaces
    probabilities  their probabilities, 0 to 1
    log_probability  natural logarithm of the probability of the token that really stands there;
                     None where there
                   is none to compare with (after the end of the text, or at a mask token)
    """

    ids: tuple[int, ...]
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    log_probability: float | None


@dataclass(frozen=True)
class Reading:
    """One text, read by one model. All tuples have one entry per token.

    text         the part of the text that was read
    pieces       the characters of each token; "" where the token before already showed the
                 character of which this token holds the last bytes. "".join(pieces) == text, if the
                 tokenizer adds no tokens itself.
    labels       the pieces for the eye: spaces, tabs and line ends as signs, "·" for an empty piece
    trace        RoutingTrace of a batch of one
    predictions  a Prediction of the token at each position: a causal model's from the tokens before
                 it (None at the first), a masked model's with that token masked
    next         a causal model's Prediction of what follows the text; None for a masked model
    n_cut        tokens beyond the limit that were not read
    causal       True for a next-token model
    masked_share how much of the text was masked at once to make the predictions (0 for a causal
    model)
    off          {layer: (experts …)} that were switched off
    k            experts per token, where another number than the model's own was asked for; else
                 None
    """

    text: str
    pieces: tuple[str, ...]
    labels: tuple[str, ...]
    trace: RoutingTrace
    predictions: tuple[Prediction | None, ...]
    next: Prediction | None
    n_cut: int
    causal: bool
    masked_share: float
    off: dict[int, tuple[int, ...]]
    k: int | None = None

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def mean_log_probability(self) -> float | None:
        """Mean over the positions with a known token, in nats; None if there is none."""
        known = [p.log_probability for p in self.predictions if p and p.log_probability is not None]
        return sum(known) / len(known) if known else None


@checked
def read_text(
    model: nn.Module,
    tokenizer,
    text: Text,
    max_tokens: Count = 512,
    off: Mapping[int, Collection[Natural]] | None = None,
    k: Count | None = None,
) -> Reading:
    """Let `model` read `text`, with the experts in `off` ({layer: experts}) switched off and `k`
    experts per token.

    At most `max_tokens` tokens are read, or as many as the model has positions. A causal model
    predicts each token from those before it, in one pass. A masked model would only copy a token
    that it can see, so each token is predicted while it is masked: one at a time in a short text
    (45 tokens), in a long one together with every n-th other: every 8th at 256 tokens, every 4th at
    512. Models are trained with about every 7th masked.

    model  a LanguageModel, or a causal Mixture-of-Experts model of transformers
           (AutoModelForCausalLM)

    Raises TypeError for a text that is no str; ValueError if it holds half a surrogate pair,
    max_tokens is below 1, the model gives NaN, the tokenizer
    has more tokens than the model knows, a masked model's tokenizer has no mask token, the model
    predicts no tokens, or `off` or `k` (see `experts_per_token`) asks for what is not there.
    """
    model = bare(model)
    require(
        hasattr(model, "config"),
        "model",
        type(model).__name__,
        "a language model such as moe_lib's LanguageModel",
        TypeError,
    )
    _check_tokenizer(model, tokenizer)
    limit = min(
        max_tokens, getattr(text_config(model), "max_position_embeddings", None) or max_tokens
    )
    # A text made by a chat template begins with the start token: a second one would be read, too.
    start = getattr(tokenizer, "bos_token", None)
    encoded = tokenizer(
        text,
        add_special_tokens=not (start and text.startswith(start)),
        return_offsets_mapping=True,
        verbose=False,
    )
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    n_cut = max(0, len(ids) - limit)
    ids, offsets = ids[:limit], offsets[:limit]
    pieces, labels = cut_at_offsets(text, offsets, tokenizer.convert_ids_to_tokens(ids))
    off = {layer: tuple(sorted(set(experts))) for layer, experts in (off or {}).items() if experts}
    causal = getattr(model.config, "causal", True)
    changed_k = nullcontext() if k is None else experts_per_token(model, k)
    with changed_k, experts_off(model, off), eval_mode(model), as_written():
        trace, predictions, share = _run(model, tokenizer, ids, causal)
    return Reading(
        text[: max((end for _, end in offsets), default=0)],
        pieces,
        labels,
        trace,
        tuple(predictions[: len(ids)]),
        predictions[-1] if causal and ids else None,
        n_cut,
        causal,
        share,
        off,
        k,
    )


def _check_tokenizer(model: nn.Module, tokenizer) -> None:
    require_fast(tokenizer)
    check_vocabulary(tokenizer, text_config(model))
    causal = getattr(model.config, "causal", True)
    require(
        causal or tokenizer.mask_token_id is not None,
        "tokenizer",
        "no mask token",
        "a mask token, to predict with a masked model",
    )


@torch.no_grad()
def _run(
    model, tokenizer, ids: list[int], causal: bool
) -> tuple[RoutingTrace, list[Prediction | None], float]:
    if not ids:  # a model cannot read nothing, but its layers and experts are there to be named
        trace = trace_routing(model, torch.zeros(1, 1, dtype=torch.long))
        return trace.filter(tokens=torch.zeros(1, 1)), [], 0.0
    input_ids = torch.tensor([ids])
    if causal:
        trace, output = traced_forward(model, input_ids)
        logits = getattr(output, "logits", None)
        expected = (1, len(ids), text_config(model).vocab_size)
        require(
            logits is not None and logits.shape == expected,
            "model",
            f"{type(model).__name__}, which gives no logits over its vocabulary",
            "one that predicts tokens, e.g. AutoModelForCausalLM",
        )
        log_probs = _log_probs(logits[0])
        return trace, [None, *_predictions(tokenizer, log_probs, [*ids[1:], None])], 0.0
    log_probs, share = _masked_log_probs(model, input_ids.to(model.device), tokenizer.mask_token_id)
    known = [None if token == tokenizer.mask_token_id else token for token in ids]
    return trace_routing(model, input_ids), _predictions(tokenizer, log_probs, known), share


def _masked_log_probs(model, input_ids: Tensor, mask_id: int) -> tuple[Tensor, float]:
    """Log-probabilities (sequence, vocab) of each position while it is masked, and the share masked
    at once."""
    length = input_ids.shape[1]
    passes = min(length, max(4, _MASKING_BUDGET // length))
    turn = (
        torch.arange(length, device=input_ids.device) % passes
    )  # position i is masked in pass i % passes
    rows = torch.arange(passes, device=input_ids.device)
    batch = input_ids.expand(passes, length).masked_fill(rows[:, None] == turn, mask_id)
    found = torch.empty(length, model.config.vocab_size)
    at_once = max(1, _TOKENS_PER_PASS // length)
    for first in range(0, passes, at_once):
        logits = model(batch[first : first + at_once]).logits
        here = ((turn >= first) & (turn < first + at_once)).nonzero()[:, 0]
        found[here.cpu()] = _log_probs(logits[turn[here] - first, here])
    return found, 1 / passes


def _log_probs(logits: Tensor) -> Tensor:
    """(positions, vocab) float32 on the CPU. ValueError for logits that are no numbers: a most
    probable token could not be told from them. -inf is one: a token that never comes."""
    log_probs = logits.float().log_softmax(-1).cpu()
    wants = "a model that computes finite numbers"
    require(not log_probs.isnan().any(), "model", "NaN or infinity as logits", wants)
    return log_probs


def _predictions(tokenizer, log_probs: Tensor, known: list[int | None]) -> list[Prediction]:
    best = log_probs.topk(min(TOP, log_probs.shape[-1]), dim=-1)
    names = {token: token_label(tokenizer, token) for token in best.indices.unique().tolist()}
    rows = zip(
        best.indices.tolist(), best.values.exp().tolist(), known, range(len(known)), strict=True
    )
    return [
        Prediction(
            tuple(ids),
            tuple(names[i] for i in ids),
            tuple(probabilities),
            None if token is None else float(log_probs[position, token]),
        )
        for ids, probabilities, token, position in rows
    ]


@dataclass(frozen=True)
class Change:
    """A position where the most probable token differs between two readings of the same text."""

    position: int
    label: str
    before: str
    before_probability: float
    after: str
    after_probability: float


@checked
def changed_predictions(before: Reading, after: Reading) -> list[Change]:
    """Where the first choice differs, in the order of the text; position len(before) is what
    follows the text.

    Raises ValueError if the two are not readings of the same tokens.
    """
    same = torch.equal(before.trace.input_ids, after.trace.input_ids)
    require(same, "after", repr(after.text[:30]), f"a reading of {before.text[:30]!r}")
    labels = (*before.labels, "(after the text)")
    pairs = zip((*before.predictions, before.next), (*after.predictions, after.next), strict=True)
    return [
        Change(
            i, labels[i], old.labels[0], old.probabilities[0], new.labels[0], new.probabilities[0]
        )
        for i, (old, new) in enumerate(pairs)
        if old and old.ids[0] != new.ids[0]
    ]
