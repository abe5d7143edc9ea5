"""Tokens as strings for the eye: the pieces of a text, and signs for what draws nothing."""

import unicodedata

from moe_lib.errors import require

CONTINUATION = "·"  # stands for a token that finishes a character begun by the token before it
_SIGNS = {" ": "␣", "\t": "⇥", "\n": "⏎", "\r": "␍", "\u00a0": "⍽"}


def require_fast(tokenizer) -> None:
    """Only a fast tokenizer says which characters a token stands for."""
    fast, wants = getattr(tokenizer, "is_fast", False), "a fast tokenizer"
    wants += " (transformers.PreTrainedTokenizerFast)"
    require(fast, "tokenizer", type(tokenizer).__name__, wants, TypeError)


def cut_at_offsets(
    text: str, offsets: list[tuple[int, int]], tokens: list[str]
) -> tuple[tuple, tuple]:
    """Cut `text` at the tokens' offsets; a tokenizer's own additions, which cover no text, keep
    their name."""
    pieces, labels, shown = [], [], 0
    for (start, end), token in zip(offsets, tokens, strict=True):
        piece = text[
            shown:end
        ]  # from where the last one ended: some tokenizers leave spaces out of the offsets
        shown = max(shown, end)
        pieces.append(piece)
        labels.append(visible(piece) if piece else token if start == end else CONTINUATION)
    return tuple(pieces), tuple(labels)


def visible(piece: str) -> str:
    """`piece` with a sign for every character that draws nothing: a space as ␣, a tab as ⇥, a line
    end as ⏎."""
    drawn = "".join(_SIGNS.get(c) or (chr(0x2400 + ord(c)) if ord(c) < 32 else c) for c in piece)
    invisible = drawn and all(
        unicodedata.category(c) in ("Cc", "Cf", "Zs", "Zl", "Zp", "Mn") for c in drawn
    )
    return " ".join(f"U+{ord(c):04X}" for c in drawn) if invisible else drawn


def token_label(tokenizer, token: int) -> str:
    """A token as a visible string; bytes that are no whole character keep the tokenizer's own
    spelling."""
    if token >= len(tokenizer):
        return f"(unused id {token})"  # a model may have more rows than its tokenizer has tokens
    decoded = tokenizer.decode([token])
    if not decoded or "\ufffd" in decoded:
        return f"[{tokenizer.convert_ids_to_tokens(token)}]"
    return visible(decoded)
