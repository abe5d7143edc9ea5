"""Speculative decoding: a draft guesses a window of tokens, the model reads them in one pass, and
keeps what it could have written itself (Leviathan et al. 2023, arXiv 2211.17192; Chen et al. 2023,
arXiv 2302.01318).

A guess x, drawn from the draft's q, is kept with the chance min(1, p(x) / q(x)); the first one that
is not is replaced by a draw from max(p − q, 0), normalised, and the rest is thrown away. If all are
kept, one more token is drawn from p. Every token then has the model's own distribution p, whatever
the draft. At temperature 0 a guess is kept if it is the model's likeliest token.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from moe_lib.errors import require
from moe_lib.model import KVCache, LanguageModel
from moe_lib.model_inputs import check_prompt
from moe_lib.modules import bare, eval_mode
from moe_lib.validation import Count, NonNegative, checked


@dataclass
class Speculated:
    """What `speculate` wrote, and how.

    ids       (1, prompt + new) int64
    guessed   tokens that the draft guessed, for every pass of the model
    kept      how many of them the model kept
    distinct  for every pass but the first, which reads the prompt as well: {layer: different
              experts that it touched}
    read      tokens in these passes: the guesses, and one before them
    """

    ids: Tensor
    guessed: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    distinct: list[dict[int, int]] = field(default_factory=list)
    read: list[int] = field(default_factory=list)

    @property
    def acceptance(self) -> float:
        """The chance that a guess is kept, given that those before it were: guesses kept, over
        guesses that were looked at (those behind the first refused one were not)."""
        looked = sum(min(k + 1, g) for k, g in zip(self.kept, self.guessed, strict=True))
        return sum(self.kept) / max(1, looked)

    @property
    def tokens_per_pass(self) -> float:
        """New tokens per pass of the model: 1 without a draft."""
        return (sum(self.kept) + len(self.kept)) / max(1, len(self.kept))

    @property
    def distinct_experts(self) -> float:
        """Different experts that a window touched in one layer, on average; 0 in a dense model."""
        each = [number for window in self.distinct for number in window.values()]
        return sum(each) / max(1, len(each))


@checked
@torch.no_grad()
def speculate(
    model: nn.Module,
    draft: nn.Module,
    input_ids: Tensor,
    max_new_tokens: Count,
    *,
    window: Count = 4,
    temperature: NonNegative = 0.0,
    generator: torch.Generator | None = None,
    tokenizer: Any = None,
    draft_tokenizer: Any = None,
) -> Speculated:
    """Continue one prompt, input_ids (1, prompt), by `max_new_tokens` with the help of `draft`.

    model, draft    causal LanguageModels of one vocabulary, on one device
    window          tokens that the draft guesses at a time
    temperature     of both; 0: the text is the one that `model.generate` writes
    generator       seeds all draws, those of the draft as well
    tokenizer, draft_tokenizer   where both are given, their vocabularies are compared, too

    Raises TypeError for other models; ValueError for a draft of another vocabulary or device, a
    masked model, or a prompt that does not fit.
    """
    model, draft = _pair(model, draft, tokenizer, draft_tokenizer)
    for one in (model, draft):
        check_prompt(one, input_ids, max_new_tokens, None)
    require(
        len(input_ids) == 1, "input_ids", tuple(input_ids.shape), "one prompt, shape (1, prompt)"
    )
    written, text = Speculated(input_ids), input_ids  # (1, so far)
    end = input_ids.shape[1] + max_new_tokens
    caches = KVCache(), KVCache()
    with eval_mode(model), eval_mode(draft):
        while text.shape[1] < end:
            n = min(window, end - text.shape[1] - 1)  # the pass itself gives one more
            guesses, q = _guess(draft, caches[1], text, n, temperature, generator)
            unread = torch.cat((text[:, caches[0].length :], guesses), dim=1)
            output = model(unread, cache=caches[0])
            p = chances(output.logits[0, -n - 1 :], temperature)  # (n + 1, vocab)
            kept, token = verify(p, q, guesses[0], generator)
            written.guessed.append(n)
            written.kept.append(kept)
            if text.shape[1] > input_ids.shape[1]:
                written.read.append(unread.shape[1])
                written.distinct.append(_distinct(output.routing))
            text = torch.cat((text, guesses[:, :kept], token[None, None]), dim=1)
            for cache in caches:  # what was refused is forgotten
                forget(cache, min(cache.length, text.shape[1] - 1))
    written.ids = text
    return written


def verify(p: Tensor, q: Tensor, guesses: Tensor, generator=None) -> tuple[int, Tensor]:
    """p (n + 1, vocab), q (n, vocab): chances of model and draft; guesses (n,) int64, drawn from q.
    -> how many of them are kept, and the token that follows, a scalar."""
    for place, guess in enumerate(guesses.tolist()):
        chance = float(p[place, guess] / q[place, guess])
        if chance < 1 and float(_uniform(generator)) >= chance:
            return place, draw(residual(p[place], q[place]), generator)
    return len(guesses), draw(p[len(guesses)], generator)


def residual(p: Tensor, q: Tensor) -> Tensor:
    """The distribution that a refused guess is replaced from: max(p − q, 0), normalised; p itself
    where nothing is left, because both are the same."""
    left = (p - q).clamp(min=0)
    total = left.sum(-1, keepdim=True)
    return torch.where(total > 0, left / total.clamp(min=torch.finfo(p.dtype).tiny), p)


def chances(logits: Tensor, temperature: float) -> Tensor:
    """logits (n, vocab) -> (n, vocab) float64; at temperature 0 all on the likeliest."""
    require(bool(logits.isfinite().all()), "logits", "NaN or infinity", "finite numbers")
    logits = logits.double()
    if temperature == 0:
        return torch.zeros_like(logits).scatter(1, logits.argmax(1, keepdim=True), 1.0)
    return ((logits - logits.amax(1, keepdim=True)) / max(temperature, 1e-38)).softmax(-1)


def draw(p: Tensor, generator: torch.Generator | None) -> Tensor:
    """A token by its chances p (vocab,): a scalar int64 on the device of p."""
    where = p.device if generator is None else generator.device
    return torch.multinomial(p.to(where), 1, generator=generator)[0].to(p.device)


def forget(cache: KVCache, length: int) -> None:
    """Keep the first `length` positions of a cache."""
    for held in (cache.keys, cache.values):
        held[:] = [tensor[:, :, :length] for tensor in held]


def _uniform(generator: torch.Generator | None) -> Tensor:
    device = "cpu" if generator is None else generator.device
    return torch.rand((), generator=generator, dtype=torch.float64, device=device)


def _guess(draft, cache: KVCache, text: Tensor, n: int, temperature: float, generator) -> tuple:
    """n tokens of the draft behind `text` (1, so far): (1, n), and their chances (n, vocab)."""
    guesses, each = text[:, :0], []
    for _ in range(n):
        unread = torch.cat((text, guesses), dim=1)[:, cache.length :]
        logits = draft(unread, cache=cache, last_logits_only=True).logits[:, -1]  # (1, vocab)
        each.append(chances(logits, temperature)[0])
        guesses = torch.cat((guesses, draw(each[-1], generator)[None, None]), dim=1)
    return guesses, torch.stack(each) if each else text.new_empty(0, 0)


def _distinct(routings) -> dict[int, int]:
    return {
        layer: len(routing.experts[routing.kept].unique())
        for layer, routing in enumerate(routings)
        if routing is not None
    }


def _pair(model: nn.Module, draft: nn.Module, tokenizer: Any, other: Any) -> tuple:
    """Both models, bare, if one may draft for the other."""
    found = []
    for name, one in (("model", model), ("draft", draft)):
        inner, kind = bare(one), type(bare(one)).__name__
        wants = "a moe_lib LanguageModel"
        require(isinstance(inner, LanguageModel), name, kind, wants, TypeError)
        require(inner.config.causal, name, "a masked model", "a causal one")
        found.append(inner)
    sizes = [inner.config.vocab_size for inner in found]
    wants = f"the model's vocabulary of {sizes[0]}"
    require(sizes[0] == sizes[1], "draft", f"a vocabulary of {sizes[1]} tokens", wants)
    device = found[0].device
    require(found[1].device == device, "draft", f"a model on {found[1].device}", f"one on {device}")
    for name, one in (("tokenizer", tokenizer), ("draft_tokenizer", other)):
        has = one is None or hasattr(one, "get_vocab")
        require(has, name, type(one).__name__, "a tokenizer of transformers", TypeError)
    if tokenizer is not None and other is not None:
        same = tokenizer.get_vocab() == other.get_vocab()
        wants = "one with the ids of the model's own tokens"
        require(same, "draft_tokenizer", "another vocabulary", wants)
    return tuple(found)
