"""Small changes of a text that should not change its label: synonyms, dropped words, a translation
there and back.

Every function takes the text and a generator of random numbers: the same seed gives the same
change.
"""

import random
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from moe_lib.errors import require, require_takes, require_texts
from moe_lib.paths import DATA
from moe_lib.tuning.arguments import Rate, TextList
from moe_lib.validation import Seed, Share, Text, checked

# Without them a text says the opposite: never replaced, never dropped.
NEGATIONS = frozenset(
    "no not never none nobody nothing nowhere neither nor cannot without hardly barely dont "
    "doesnt didnt isnt wasnt "
    "cant wont couldnt 不 没 别 无 非 未 勿 莫 否".split()
)
_PIECES = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*|[\u4e00-\u9fff]|\s+|.", re.DOTALL)


def pieces_of(text: str) -> list[str]:
    """The text in words of letters, single Chinese characters, spaces and other characters; joined
    it is whole."""
    return _PIECES.findall(text)


def is_negation(word: str) -> bool:
    """True also for n't: "don't", "isn’t"."""
    word = word.lower()
    return word in NEGATIONS or word.endswith(("n't", "n’t"))


@checked
def words_of_labels(names: Iterable[Text]) -> frozenset[str]:
    """The words that label names are made of: "cancel_order" -> cancel, order."""
    return frozenset(word for name in names for word in re.split(r"[\W_]+", name.lower()) if word)


@cache
def load_synonyms() -> dict[str, tuple[str, ...]]:
    """data/synonyms: word -> words that may replace it. ValueError naming a line that is no such
    list."""
    table = {}
    for language in ("en", "zh"):
        path = DATA / "synonyms" / f"{language}.tsv"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            word, *others = line.split("\t")
            good = (
                bool(word and others and all(others)) and word not in others and word not in table
            )
            require(
                good,
                f"{path.name}, line {number}",
                line,
                "a new word and others for it, separated by tabs",
            )
            table[word] = tuple(others)
    return table


def check_change(text: object, generator: object) -> None:
    """What every change of a text is called with."""
    require(isinstance(text, str), "text", text, "a text", TypeError)
    fits = callable(getattr(generator, "random", None)) and hasattr(generator, "choice")
    require(fits, "generator", generator, "a random.Random", TypeError)


@checked
@dataclass(frozen=True)
class Synonyms:
    """Replace each word that is in the table with this probability.

    share    0 to 1
    protect  words that stay, and that replace nothing, in lower case: those of the labels, say
    table    word -> replacements; the course's own by default

    Negations always stay. A capital at the beginning of a word stays one.
    """

    share: Share = 0.3
    protect: Collection[Text] = frozenset()
    table: Mapping[Text, Sequence[Text]] = field(default_factory=load_synonyms, repr=False)

    def __post_init__(self):
        for word, others in self.table.items():
            require(word.strip() != "", "table", word, "words of at least one character")
            require("" not in others, f"table[{word!r}]", others, "replacements that are not empty")

    def __call__(self, text: str, generator: random.Random) -> str:
        check_change(text, generator)
        pieces, place, changed = pieces_of(text), 0, []
        while place < len(pieces):
            length, word = self._entry(pieces, place)
            others = [other for other in self.table.get(word, ()) if other not in self.protect]
            if not others or generator.random() >= self.share:
                changed.extend(pieces[place : place + length])
            else:
                other = generator.choice(others)
                changed.append(other.capitalize() if pieces[place][0].isupper() else other)
            place += length
        return "".join(changed)

    def _entry(self, pieces: list[str], place: int) -> tuple[int, str | None]:
        """How many pieces the longest entry at `place` takes, and the entry; (1, None) if none
        begins there."""
        first = pieces[place]
        longest = 1 if first.isascii() else 4  # Chinese entries are of several characters
        for length in range(min(longest, len(pieces) - place), 0, -1):
            part = pieces[place : place + length]
            word = "".join(part).lower()
            held = word in self.protect or any(
                is_negation(piece) or piece in self.protect for piece in part
            )
            if word in self.table and not held:
                return length, word
        return 1, None


@checked
@dataclass(frozen=True)
class WordDropout:
    """Leave out each word (each character, in Chinese) with this probability. Negations and
    `protect` stay.

    A text that would lose all of its words stays as it was.
    """

    share: Rate = 0.1
    protect: Collection[Text] = frozenset()

    def __call__(self, text: str, generator: random.Random) -> str:
        check_change(text, generator)
        kept, words = [], 0
        for piece in pieces_of(text):
            word = piece[0].isalpha()
            stays = not word or is_negation(piece) or piece.lower() in self.protect
            if stays or generator.random() >= self.share:
                kept.append(piece)
                words += word
        return re.sub(r" {2,}", " ", "".join(kept)).strip() if words else text


@checked
@dataclass(frozen=True)
class InTurn:
    """Several changes, one after the other."""

    changes: Sequence[Callable]

    def __call__(self, text: str, generator: random.Random) -> str:
        check_change(text, generator)
        for change in self.changes:
            text = change(text, generator)
        return text


@dataclass(frozen=True)
class BackTranslated:
    """texts, in their order; of them `changed` came back in other words, `unchanged` as they were,
    and `empty` not at all. In these two the original stands."""

    texts: list[str]
    changed: int
    unchanged: int
    empty: int


@checked
def back_translate(texts: TextList, there: Callable, back: Callable) -> BackTranslated:
    """Each text translated and translated back: the same in other words, if the translators are
    good.

    there, back   text -> text. Any will do. With the course's own model (notebook 13), whose
                  answers are text: `there = lambda text: answer(model, tokenizer, text, "Translate
                  into Chinese.")`, `back` likewise

    The original is kept where the round trip gives nothing but spaces, or the same text; both are
    counted. Whether the meaning survived is not checked. A small translator says something else:
    read some before you train on them. Raises TypeError for a translator that gives no text.
    """
    require_texts("texts", texts)
    kept, changed, unchanged, empty = [], 0, 0, 0
    for text in texts:
        result = text
        for name, translate in (("there", there), ("back", back)):
            result = translate(result) if result.strip() else ""
            require(
                isinstance(result, str),
                name,
                type(result).__name__,
                "a function from text to text",
                TypeError,
            )
        result = result.strip()
        empty += not result
        unchanged += result == text.strip()
        changed += bool(result) and result != text.strip()
        kept.append(result if result and result != text.strip() else text)
    return BackTranslated(kept, changed, unchanged, empty)


@checked
def augment_texts(texts: TextList, change: Callable, *, seed: Seed = 0) -> list[str]:
    """Every text changed. Text number i has random numbers of its own: it comes out the same in any
    company."""
    require_texts("texts", texts)
    require_takes("change", change, "a text", "a random.Random")
    changed = [change(text, random.Random(f"{seed}/{index}")) for index, text in enumerate(texts)]
    for place, text in enumerate(changed):
        got = f"{text!r} for text {place}"
        require(isinstance(text, str), "change", got, "a function that returns a text", TypeError)
    return changed
