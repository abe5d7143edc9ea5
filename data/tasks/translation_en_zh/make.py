"""Builds the four files of translation_en_zh from three hand-written tables beside this script.

    python data/tasks/translation_en_zh/make.py

- lexicon.tsv: words and phrases in both languages, with measure words, verb forms and tags.
- frames.tsv: sentence patterns with slots. A frame belongs to exactly one part, so no pattern that
  is tested was ever trained on.
- free.tsv: sentences written freely by hand, each with its part.

The script draws fillers for the slots with a fixed seed, so a second run writes the same bytes.

Slots, as in `t:thing[wear|gift] a:adjective[too]@t`: name, class, tags of which one must be
present, and after @ another slot with which the word must share a tag (a coat can be too long, a
cup cannot). Templates: {t} is the word itself, {t.pl} a field of it, {v/p} the present tense of v
agreeing with p.
"""

from __future__ import annotations

import csv
import json
import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SEED = 20240607
PARTS = ("train", "validation", "test_combinations", "test_free")
MAX_DRAWS = 20_000

# One form for "I", one for "you / we / they / plural", one for the third person singular.
AGREEMENT = {
    "be": ("am", "are", "is"),
    "have": ("have", "have", "has"),
    "do": ("do", "do", "does"),
    "go": ("go", "go", "goes"),
    "come": ("come", "come", "comes"),
    "want": ("want", "want", "wants"),
    "like": ("like", "like", "likes"),
}
SLOT = re.compile(r"(\w+):(\w+)(?:\[([\w|]+)\])?(?:@(\w+))?$")
FIELD = re.compile(r"\{(\w+)(?:([./])(\w+))?\}")


@dataclass(frozen=True)
class Word:
    """One entry of the lexicon: English, Chinese, extra forms, tags."""

    kind: str
    en: str
    zh: str
    forms: tuple[tuple[str, str], ...]
    tags: frozenset[str]

    def form(self, name: str) -> str:
        """Return one extra form, such as the plural `pl`; ValueError if the lexicon has none."""
        if name == "a":
            return ("an " if self.en[0] in "aeiou" else "a ") + self.en
        forms = dict(self.forms)
        if name in AGREEMENT and "agr" in forms:
            return AGREEMENT[name][int(forms["agr"])]
        if name not in forms:
            raise ValueError(f"lexicon.tsv: {self.kind} {self.en!r} has no form {name!r}")
        return forms[name]


@dataclass(frozen=True)
class Slot:
    """A gap in a frame: which words may fill it."""

    name: str
    kind: str
    tags: frozenset[str]
    partner: str | None


@dataclass(frozen=True)
class Frame:
    """A sentence pattern in both languages."""

    name: str
    part: str
    rows: int
    slots: tuple[Slot, ...]
    en: str
    zh: str


def read_table(name: str) -> list[dict[str, str]]:
    """Read a tab-separated table of this folder; the first line names the columns."""
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def read_lexicon() -> list[Word]:
    words = []
    for row in read_table("lexicon.tsv"):
        forms = tuple(tuple(pair.split("=", 1)) for pair in row["features"].split(";") if pair)
        tags = frozenset(tag for tag in row["tags"].split(",") if tag)
        words.append(Word(row["class"], row["en"], row["zh"], forms, tags))
    return words


def read_frames() -> list[Frame]:
    frames = []
    for row in read_table("frames.tsv"):
        slots = []
        for text in row["slots"].split():
            match = SLOT.match(text)
            if match is None:
                raise ValueError(f"frames.tsv: frame {row['frame']!r}: cannot read slot {text!r}")
            name, kind, tags, partner = match.groups()
            slots.append(Slot(name, kind, frozenset(tags.split("|") if tags else ()), partner))
        frames.append(Frame(row["frame"], row["part"], int(row["rows"]), tuple(slots), row["en"], row["zh"]))
    names = Counter(frame.name for frame in frames)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ValueError(f"frames.tsv: frames named twice: {twice}")
    return frames


def render(template: str, chosen: dict[str, Word], language: str) -> str:
    """Fill a template. `language` is "en" or "zh" and decides what a bare {slot} stands for."""

    def replace(match: re.Match[str]) -> str:
        name, sign, field = match.groups()
        word = chosen[name]
        if sign == "/":
            third_person = chosen[field].form("agr") == "2"
            return word.form("s") if third_person else word.en
        if sign == ".":
            return word.form(field)
        return word.en if language == "en" else word.zh

    text = FIELD.sub(replace, template)
    return text[0].upper() + text[1:]


def candidates(slot: Slot, lexicon: list[Word], chosen: dict[str, Word]) -> list[Word]:
    """Words that may fill the slot, given what earlier slots already hold."""
    fitting = []
    for word in lexicon:
        if word.kind != slot.kind or word in chosen.values():
            continue
        if slot.tags and not slot.tags & word.tags:
            continue
        if slot.partner and not (word.tags & chosen[slot.partner].tags):
            continue
        fitting.append(word)
    return fitting


def english_words(text: str) -> set[str]:
    """Words in lower case; "mother's" counts as "mother" and "s"."""
    return set(re.findall(r"[a-z]+", text.lower()))


def pieces(pair: dict[str, str]) -> set[str]:
    """English words and Chinese characters of one pair: what the coverage promise is about."""
    return english_words(pair["en"]) | set(pair["zh"])


def expand(
    frame: Frame, lexicon: list[Word], uses: Counter[Word], known: set[str] | None = None
) -> list[dict]:
    """Draw `frame.rows` different sentences. Words used less often so far are preferred.

    With `known`, sentences that hold any other word or character are passed over.
    """
    rng = random.Random(f"{SEED}:{frame.name}")
    rows: dict[str, dict] = {}
    for _ in range(MAX_DRAWS):
        chosen: dict[str, Word] = {}
        for slot in frame.slots:
            fitting = candidates(slot, lexicon, chosen)
            if not fitting:
                break
            chosen[slot.name] = min(fitting, key=lambda word: uses[word] + 4 * rng.random())
        if len(chosen) < len(frame.slots):
            continue
        uses.update(chosen.values())  # also for a repeat, so that the next draw looks elsewhere
        pair = {language: render(getattr(frame, language), chosen, language) for language in ("en", "zh")}
        if known is None or pieces(pair) <= known:
            rows[pair["en"]] = {"translation": pair, "origin": f"grammar:{frame.name}"}
        if len(rows) == frame.rows:
            return list(rows.values())
    raise ValueError(f"frames.tsv: frame {frame.name!r} gives only {len(rows)} of {frame.rows} sentences")


def train_pieces(parts: dict[str, list[dict]]) -> set[str]:
    return set().union(*(pieces(row["translation"]) for row in parts["train"]))


def build() -> dict[str, list[dict]]:
    """Return the rows of every part, shuffled, with ids."""
    lexicon, frames, uses = read_lexicon(), read_frames(), Counter()
    parts: dict[str, list[dict]] = {part: [] for part in PARTS}
    for row in read_table("free.tsv"):
        pair = {"en": row["en"], "zh": row["zh"]}
        parts[row["part"]].append({"translation": pair, "origin": "free"})
    for part in ("train", "validation", "test_combinations"):  # train first: it decides what is known
        known = train_pieces(parts) if part == "test_combinations" else None
        for frame in frames:
            if frame.part == part:
                parts[part] += expand(frame, lexicon, uses, known)
    for part, rows in parts.items():
        random.Random(f"{SEED}:{part}").shuffle(rows)
        parts[part] = [{"id": f"{part}-{number:04d}"} | row for number, row in enumerate(rows, start=1)]
    return parts


def check(parts: dict[str, list[dict]]) -> None:
    """Raise ValueError where a promise of the card is broken."""
    seen: dict[tuple[str, str], str] = {}
    for rows in parts.values():
        for row in rows:
            for language, text in row["translation"].items():
                # A sentence may occur once only: with two answers, or in two parts, it would spoil
                # a score.
                if not text.strip() or "{" in text:
                    raise ValueError(f"{row['id']}: unusable {language} text {text!r}")
                if seen.setdefault((language, text), row["id"]) != row["id"]:
                    raise ValueError(f"{row['id']}: same {language} text as {seen[language, text]}: {text!r}")
    known = train_pieces(parts)
    for row in parts["test_combinations"]:
        missing = pieces(row["translation"]) - known
        if missing:
            raise ValueError(f"{row['id']}: not in train: {sorted(missing)}")


def main() -> None:
    parts = build()
    check(parts)
    for part, rows in parts.items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (FOLDER / f"{part}.jsonl").write_bytes("".join(lines).encode("utf-8"))
        free = sum(row["origin"] == "free" for row in rows)
        print(f"{part}: {len(rows)} pairs, {len(rows) - free} from the grammar, {free} free")


if __name__ == "__main__":
    main()
