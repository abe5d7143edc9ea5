"""Generation tasks as one prompted model: chats, mixtures of tasks, free and constrained answers.

rows = encode_chats(translation_chats(pairs), tokenizer)
finetune(AnswerLoss(model), TaskMixture({"translate": rows, "summarise": others}, 32), steps=400)
Translator(model, tokenizer, target="zh")(["The hotel is near."])
answer_within(model, tokenizer, [chat("A warm coat, please.", system=RECOMMEND)], names)
"""

from moe_lib.tuning.prompting.answer_loss import AnswerLoss
from moe_lib.tuning.prompting.answering import answer
from moe_lib.tuning.prompting.chats import (
    CHAT_TEMPLATE,
    ROLES,
    chat,
    chat_ids,
    encode_chats,
    encode_prompts,
    left_padded,
)
from moe_lib.tuning.prompting.choices import (
    PrefixTree,
    answer_within,
    choice_ids,
    score_choices,
    select_rows,
)
from moe_lib.tuning.prompting.mixing import TaskMixture
from moe_lib.tuning.prompting.tasks import (
    RECOMMEND,
    STYLES,
    SUMMARISE,
    Translator,
    product_chats,
    recommendation_chats,
    style_chat,
    summary_chats,
    translate_into,
    translation_chats,
)

__all__ = [
    "CHAT_TEMPLATE",
    "RECOMMEND",
    "ROLES",
    "STYLES",
    "SUMMARISE",
    "AnswerLoss",
    "PrefixTree",
    "TaskMixture",
    "Translator",
    "answer",
    "answer_within",
    "chat",
    "chat_ids",
    "choice_ids",
    "encode_chats",
    "encode_prompts",
    "left_padded",
    "product_chats",
    "recommendation_chats",
    "score_choices",
    "select_rows",
    "style_chat",
    "summary_chats",
    "translate_into",
    "translation_chats",
]
