"""The course's generation tasks as chats: the instruction of each, and a translator to hand to
others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moe_lib.errors import require, require_texts
from moe_lib.model_inputs import check_vocabulary
from moe_lib.tuning.arguments import Model, is_list, require_rows
from moe_lib.tuning.prompting.answering import answer
from moe_lib.tuning.prompting.chats import chat
from moe_lib.validation import Count, Text, Tokenizer, checked

LANGUAGES = {"en": "English", "zh": "Chinese"}
SUMMARISE = "Summarise in one sentence."
RECOMMEND = "Recommend a product."
STYLES = {
    "stories": "a story",
    "market_news": "market news",
    "customer_service": "customer service",
    "science_notes": "a science note",
}


def translation_chats(
    pairs: Sequence[Mapping[str, str]], source: str = "en", target: str = "zh"
) -> list[list[dict]]:
    """Pairs {"en": …, "zh": …} (the column `translation` of translation_en_zh) -> a chat each.

    The other direction is source="zh", target="en". Both mixed make one model that does both.
    """
    _check_language("source", source)
    _check_language("target", target)
    require(source != target, "target", target, f"another language than source ({source!r})")
    require_rows("pairs", pairs, source, target)
    return [chat(pair[source], pair[target], translate_into(target)) for pair in pairs]


def translate_into(target: str) -> str:
    """The instruction. ValueError for a language other than "en" and "zh"."""
    _check_language("target", target)
    return f"Translate into {LANGUAGES[target]}."


def summary_chats(rows: Sequence[Mapping[str, str]]) -> list[list[dict]]:
    """Rows of the task `summaries` (text, summary) -> a chat each."""
    require_rows("rows", rows, "text", "summary")
    return [chat(row["text"], row["summary"], SUMMARISE) for row in rows]


def recommendation_chats(
    rows: Sequence[Mapping[str, Any]], products: Sequence[Mapping[str, Any]]
) -> list[list[dict]]:
    """Rows of the task `catalogue` (request, product_ids) -> a chat for each fitting product,
    answered by its name."""
    require_rows("products", products, "name")
    require_rows("rows", rows, "request")
    for place, product in enumerate(products):
        require("id" in product, f"products[{place}]", sorted(product), "a product with an id")
    known = {product["id"] for product in products}
    for place, row in enumerate(rows):
        ids, name = row.get("product_ids"), f"rows[{place}]['product_ids']"
        require(is_list(ids), name, ids, "a list of ids", TypeError)
        for id_ in ids:
            fits = isinstance(id_, str | int) and id_ in known
            require(fits, name, id_, "ids that `products` has")
    names = {product["id"]: product["name"] for product in products}
    return [
        chat(row["request"], names[id_], RECOMMEND) for row in rows for id_ in row["product_ids"]
    ]


def product_chats(products: Sequence[Mapping[str, Any]]) -> list[list[dict]]:
    """The descriptions of `load_products()` as if they were requests: how a model gets to know the
    shop."""
    require_rows("products", products, "description", "name")
    return [chat(product["description"], product["name"], RECOMMEND) for product in products]


@checked
def style_chat(style: Text, beginning: Text, text: Text | None = None) -> list[dict]:
    """A request to write in one of STYLES from a given beginning; `text` goes on after it."""
    require(style in STYLES, "style", style, f"one of {', '.join(STYLES)}")
    return chat(beginning, text, f"Go on as {STYLES[style]}.")


@checked
@dataclass(frozen=True)
class Translator:
    """`translator(texts)` -> their translations, in order, by a model that was fine-tuned on
    `translation_chats`.

    target   "zh" or "en": the language that the model is asked for
    """

    model: Model
    tokenizer: Tokenizer
    target: Text = "zh"
    batch_size: Count = 64
    max_new_tokens: Count = 48

    def __post_init__(self):
        _check_language("target", self.target)
        check_vocabulary(self.tokenizer, self.model.config)

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """ValueError for an empty text; TypeError for a single string instead of a list."""
        require_texts("texts", texts)
        if not len(texts):
            return []
        chats = [chat(text, system=translate_into(self.target)) for text in texts]
        return answer(
            self.model,
            self.tokenizer,
            chats,
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
        )


def _check_language(argument: str, language: str):
    known = isinstance(language, str) and language in LANGUAGES
    require(known, argument, language, f"one of {', '.join(LANGUAGES)}")
