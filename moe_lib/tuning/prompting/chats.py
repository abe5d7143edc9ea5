"""Chats: messages with roles -> token ids, and which of them the model has to write itself.

    <|system|>Translate into Chinese.<|user|>The hotel is near.<|assistant|>酒店很近。<|end|>
    -------------------- prompt: read, label -100 -----------------------^^^^^^^^^^^^ answer:
    learned

Every message is its role's marker and its text; an answer ends with the end token, so that a model
learns to stop. A text is read literally: "<|assistant|>" inside it becomes plain characters, so no
user can speak for the model.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from moe_lib.errors import require, require_unicode
from moe_lib.labels import IGNORED
from moe_lib.text import pad_batch
from moe_lib.tuning.arguments import Device, Listed
from moe_lib.tuning.examples import Encoded
from moe_lib.validation import Count, Natural, Text, TokenIds, Tokenizer, checked

ROLES = ("system", "user", "assistant")
MARKERS = {role: f"<|{role}|>" for role in ROLES}

# The same chats for transformers' `tokenizer.apply_chat_template`. It joins the texts before they
# are cut into tokens: there, a marker inside a user's text IS a marker. `chat_ids` cuts every text
# by itself and has no such hole.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}{% if message['role'] "
    "== 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

Message = Mapping[str, str]
Chat = Sequence[Message]


@checked
def chat(
    user: Text, answer: Text | None = None, system: Text | None = None
) -> list[dict[str, str]]:
    """A chat of one turn as a list of messages; without an answer, a prompt."""
    parts = (("system", system), ("user", user), ("assistant", answer))
    return [{"role": role, "content": text} for role, text in parts if text is not None]


@checked
def chat_ids(
    messages: Any, tokenizer: Tokenizer, *, argument: Text = "messages"
) -> tuple[list[int], list[bool]]:
    """Messages -> (token ids, for each of them: is it part of an answer?).

    Answers are the assistant's texts, each with its end token. If the last message is not the
    assistant's, the marker of the assistant follows it: what comes next is the answer to write.

    Raises ValueError or TypeError for no messages, an unknown role, a text that is empty or not a
    string, a system message that is not the first, or two answers in a row; `argument` is how the
    message calls the input.
    """
    _check(messages, argument)
    marker = {role: tokenizer.convert_tokens_to_ids(text) for role, text in MARKERS.items()}
    ids, is_answer = [], []
    for message in messages:
        text = tokenizer(
            message["content"], add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        text, answers = text["input_ids"], message["role"] == "assistant"
        text = [*text, tokenizer.eos_token_id] if answers else text
        ids += [marker[message["role"]], *text]
        is_answer += [False] + [answers] * len(text)
    if messages[-1]["role"] != "assistant":
        ids, is_answer = [*ids, marker["assistant"]], [*is_answer, False]
    return ids, is_answer


@checked
def encode_chats(chats: Listed, tokenizer: Tokenizer, *, max_length: Count = 256) -> Encoded:
    """Chats that end with an answer -> Encoded rows whose labels are the answers' tokens, and -100
    everywhere else.

    max_length   tokens. Of a longer chat the beginning of the prompt is cut, a system message kept;
                 one warning gives the number, `n_cut` too. An answer is never cut.

    Raises ValueError for a chat without an answer at its end, for a last answer that leaves no room
    for a prompt, and for what `chat_ids` refuses.
    """
    rows, n_cut = [], 0
    for index, messages in enumerate(chats):
        name = f"chats[{index}]"
        ids, is_answer = chat_ids(messages, tokenizer, argument=name)
        role = messages[-1]["role"]
        require(
            role == "assistant",
            name,
            f"a last message of {role!r}",
            "one of 'assistant': the answer to learn",
        )
        n_answer = is_answer[::-1].index(False)  # the last answer: from its marker to the end
        keep = _cut(ids, messages, tokenizer, max_length, n_answer, name)
        n_cut += len(keep) < len(ids)
        labels = [
            token if answers else IGNORED for token, answers in zip(ids, is_answer, strict=True)
        ]
        rows.append(
            {
                "input_ids": [ids[place] for place in keep],
                "labels": [labels[place] for place in keep],
            }
        )
    _warn(n_cut, len(rows), "chats", max_length)
    return Encoded(rows, tokenizer.pad_token_id, n_cut=n_cut)


@checked
def encode_prompts(
    chats: Listed, tokenizer: Tokenizer, *, max_length: Count = 256
) -> list[list[int]]:
    """Chats that wait for an answer -> token ids, each ending with the assistant's marker.

    Longer ones are cut as in `encode_chats`. Raises ValueError for a chat that ends with an answer
    already.
    """
    rows, n_cut = [], 0
    for index, messages in enumerate(chats):
        name = f"chats[{index}]"
        ids, _ = chat_ids(messages, tokenizer, argument=name)
        require(
            messages[-1]["role"] != "assistant",
            name,
            "an answer at its end",
            "a prompt that waits for one",
        )
        keep = _cut(ids, messages, tokenizer, max_length, 0, name)
        n_cut += len(keep) < len(ids)
        rows.append([ids[place] for place in keep])
    _warn(n_cut, len(rows), "chats", max_length)
    return rows


@checked
def left_padded(
    rows: Sequence[TokenIds], pad_token_id: Natural, device: Device = None
) -> tuple[Tensor, Tensor]:
    """Prompts -> input_ids, attention_mask (batch, longest) with padding on the left, as `generate`
    wants them."""
    filled = any(map(len, rows))
    require(filled, "rows", rows, "prompts with at least one token in all")
    ids, mask = pad_batch([list(row) for row in rows], pad_token_id, side="left")
    return ids.to(device), mask.to(device)


def _cut(
    ids: list[int], messages: Chat, tokenizer, max_length: int, n_answer: int, name: str
) -> list[int]:
    """The places to keep: a system message, then the end of what follows it."""
    if len(ids) <= max_length:
        return list(range(len(ids)))
    n_system = 0
    if messages[0]["role"] == "system":
        n_system = ids.index(tokenizer.convert_tokens_to_ids(MARKERS[messages[1]["role"]]), 1)
    room = max_length - n_system
    wants = (
        f"at most {max_length - n_system - 2}, to leave room for a prompt (max_length {max_length})"
    )
    require(
        room >= n_answer + 2,
        name,
        f"an answer of {n_answer} tokens after {n_system} of the system",
        wants,
    )
    return [*range(n_system), *range(len(ids) - room, len(ids))]


def _check(messages: Chat, argument: str):
    a_list = isinstance(messages, Sequence) and not isinstance(messages, str)
    require(
        a_list and len(messages) > 0,
        argument,
        messages,
        "a list of messages, at least one",
        TypeError,
    )
    for place, message in enumerate(messages):
        name = f"{argument}[{place}]"
        whole = isinstance(message, Mapping) and set(message) >= {"role", "content"}
        require(whole, name, message, '{"role": …, "content": …}', TypeError)
        role, text = message["role"], message["content"]
        require(role in ROLES, f"{name}['role']", role, f"one of {', '.join(ROLES)}")
        filled = isinstance(text, str) and text.strip() != ""
        require(filled, f"{name}['content']", text, "a text that is not empty")
        require_unicode(f"{name}['content']", text)
        require(
            role != "system" or place == 0,
            name,
            "a system message in the middle",
            "only the first may be one",
        )
        first = place == 0 or messages[place - 1]["role"] == "system"
        require(
            role != "assistant" or not first,
            name,
            "an answer to nothing",
            "a user's message before it",
        )
        twice = place > 0 and role == messages[place - 1]["role"]
        require(not twice, name, f"{role!r} twice in a row", "user and assistant in turn")
    require(
        messages[-1]["role"] != "system",
        argument,
        "a system message alone",
        "a user's message after it",
    )


def _warn(n_cut: int, total: int, argument: str, max_length: int):
    if n_cut:
        cut = f"{n_cut} of {total} are longer than max_length={max_length} tokens"
        warnings.warn(f"{argument}: {cut} and lost the beginning of their prompt", stacklevel=4)
