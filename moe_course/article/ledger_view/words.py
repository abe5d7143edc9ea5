"""What the ledger's widget says, in English and in Chinese."""

from moe_course.article.ledger.rows import VERDICTS, Ledger, Row
from moe_course.article.ledger.wording import CHINESE, MARKS, PARTS

LABELS = {
    "english": {
        "language": "Language",
        "verdict": "Verdict",
        "part": "Part of the article",
        "chapter": "Tested in chapter",
        "text": "Words",
        "hint": "in either language",
        "all": "all",
        "reset": "Show all",
        "tested": "Tested in",
        "sources": "Source",
        "none": "No statement fits. “Show all” takes every filter away.",
    },
    "chinese": {
        "language": "语言",
        "verdict": "结论",
        "part": "文章的部分",
        "chapter": "检验的章节",
        "text": "词语",
        "hint": "中文或英文",
        "all": "全部",
        "reset": "显示全部",
        "tested": "检验",
        "sources": "出处",
        "none": "没有符合的说法。“显示全部”去掉所有筛选。",
    },
}


def verdict_words(verdict: str, language: str) -> str:
    """A verdict with its mark."""
    return f"{MARKS[verdict]} {CHINESE[verdict] if language == 'chinese' else verdict}"


def part_words(part: str, language: str) -> str:
    """A part of the article, by number and name."""
    return f"{part} {PARTS[part][language == 'chinese']}"


def filter_words(part: str, chapter: str, text: str, language: str) -> str:
    """The filters that are set, but for the verdict; "" for none."""
    chinese = language == "chinese"
    said = [
        f"{'第 ' if chinese else 'part '}{part}{' 部分' if chinese else ''}" if part else "",
        f"{'第 ' if chinese else 'chapter '}{chapter}{' 章' if chinese else ''}" if chapter else "",
        (f"词语“{text.strip()}”" if chinese else f"words “{text.strip()}”") if text.strip() else "",
    ]
    return ("，" if chinese else ", ").join(words for words in said if words)


def summary(ledger: Ledger, rows: tuple[Row, ...], filters: str, language: str) -> str:
    """What is shown, in a sentence or two."""
    counts = ledger.counts(rows)
    if language == "chinese":
        by_verdict = "，".join(
            f"{CHINESE[one]} {counts[one]} 条" for one in VERDICTS if counts[one]
        )
        shown = f"共 {len(ledger.rows)} 条说法，显示 {len(rows)} 条"
        return f"{shown}{f'（{filters}）' if filters else ''}{f'：{by_verdict}' if rows else ''}。"
    by_verdict = ", ".join(f"{counts[one]} “{one}”" for one in VERDICTS if counts[one])
    shown = f"{len(rows)} of {len(ledger.rows)} statements of the article are shown"
    return f"{shown}{f' ({filters})' if filters else ''}{f': {by_verdict}' if rows else ''}."
