"""Letting a prompted model answer freely: whatever it writes until its end token."""

from moe_lib.errors import require
from moe_lib.model_inputs import check_vocabulary
from moe_lib.modules import eval_mode
from moe_lib.tuning.arguments import Listed, Model
from moe_lib.tuning.prompting.chats import encode_prompts, left_padded
from moe_lib.validation import Count, Tokenizer, checked


@checked
def answer(
    model: Model,
    tokenizer: Tokenizer,
    chats: Listed,
    *,
    max_new_tokens: Count = 48,
    batch_size: Count = 64,
    **options,
) -> list[str]:
    """The model's answer to each chat, in their order, without end token and markers.

    batch_size   chats at a time, those of like length together; the answers do not depend on it
    options      of `moe_lib.model.generation.generate`: temperature, top_k, top_p, generator,
                 use_cache

    A prompt that leaves no room for max_new_tokens loses its beginning, with a warning. An answer
    that does not end within max_new_tokens is cut there, silently: compare its length if that
    matters.
    """
    check_vocabulary(tokenizer, model.config)
    room = model.config.max_position_embeddings
    require(max_new_tokens < room, "max_new_tokens", max_new_tokens, f"fewer than {room}")
    prompts = encode_prompts(
        chats, tokenizer, max_length=model.config.max_position_embeddings - max_new_tokens
    )
    by_length = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    texts = [""] * len(prompts)
    with eval_mode(model):
        for start in range(0, len(prompts), batch_size):
            places = by_length[start : start + batch_size]
            ids, mask = left_padded(
                [prompts[place] for place in places], tokenizer.pad_token_id, model.device
            )
            written = model.generate(
                ids,
                max_new_tokens,
                attention_mask=mask,
                stop_token_ids=[tokenizer.eos_token_id],
                pad_token_id=tokenizer.pad_token_id,
                **options,
            )
            for place, row in zip(places, written[:, ids.shape[1] :].tolist(), strict=True):
                texts[place] = tokenizer.decode(row, skip_special_tokens=True)
    return texts
