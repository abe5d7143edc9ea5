"""Write the page for the article's own readers, in Chinese, from the ledger.

    python -m moe_course.article.ledger.page

Run it after a change to the ledger or to the list of chapters; a test compares the file with what
this gives.
"""

import sys
from pathlib import Path

from moe_course.article.ledger.rows import VERDICTS, Ledger, Row, the_ledger
from moe_course.article.ledger.wording import CHINESE, MARKS, PARTS
from moe_course.chapters import CHAPTERS, find_chapter
from moe_lib.console import Parser, first_paragraph, run_command
from moe_lib.text_files import write_bytes

PAGE = Path(__file__).parents[1] / "README.zh.md"
UP = "../../"  # from the page's folder to the repository
_WHERE = {  # the English of "where in a source"
    "sections": "节",
    "section": "节",
    "tables": "表",
    "table": "表",
    "equations": "公式",
    "equation": "公式",
    "appendix": "附录",
    "and": "和",
    "to": "至",
    "whole": "全文",
    "paper": "",
    "report": "",
    "abstract": "摘要",
    "title": "标题",
    "cover": "封面",
    "package": "安装包",
    "metadata": "元数据",
    "source": "源码",
    "as": "",
    "installed": "",
}
_OPENING = """\
# 《DeepSeek的二代MoE大模型》逐条检验

<!-- 由 python -m moe_course.article.ledger.page 生成，请勿手改 -->

这一页写给这篇中文文章的读者。文章里凡是可以检验的说法，这里都列出一条：
原文（短引）、结论、理由或成立的条件。

“检验”一行是课程中检验它的章节或测试，课程自己测得的数字由那里重新打印，
并有一个测试逐个核对；“出处”一行是论文或软件，有关 DeepSeek-V2 的事实引自它的报告。
课程的模型很小：它说明机制，不代表 DeepSeek-V2 的成绩。

文章没有提到的，恰恰是 DeepSeek-V2 的要点：潜注意力（第 08 章）、
细粒度专家与共享专家（第 07 章）、负载均衡（第 06 章）；文中的代码里也没有任何混合专家。
"""


def page(ledger: Ledger) -> str:
    """The whole page, as Markdown."""
    counts = ledger.counts()
    parts = [_OPENING, f"## 结论一览\n\n共 {len(ledger.rows)} 条。\n"]
    parts.append("| 结论 | 条数 |\n|---|---|")
    parts += [f"| {MARKS[name]} {CHINESE[name]} | {counts[name]} |" for name in VERDICTS]
    parts.append("\n## 各章内容\n\n| 章 | 内容 |\n|---|---|")
    parts += [_chapter(ledger, chapter) for chapter in CHAPTERS]
    for part in ledger.parts:
        parts.append(f"\n## 文章第 {part} 节：{PARTS[part][1]}\n")
        parts += [_row(ledger, row) for row in ledger.select(part=part)]
    return "\n".join(parts).rstrip() + "\n"


def _chapter(ledger: Ledger, chapter) -> str:
    words = ledger.chapters[chapter.number]
    title = f"{chapter.number} {words['title']}"
    if not chapter.ready:
        return f"| {title}（编写中） | {words['summary']} |"
    return f"| [{title}]({UP}notebooks/{chapter.filename}) | {words['summary']} |"


def _row(ledger: Ledger, row: Row) -> str:
    quote = f"`` {row.quote} ``" if row.quotes_code else f"“{row.quote}”"
    verdict = f"**{MARKS[row.verdict]} {CHINESE[row.verdict]}**"
    lines = [
        f"{verdict}（{row.section.removeprefix('9 ')}）{quote}",
        row.words("chinese"),
        *([f"检验：{_places(row)}"] if row.chapters or row.tests else []),
        *([f"出处：{_sources(ledger, row)}"] if row.sources else []),
    ]
    return "- " + "  \n  ".join(lines)


def _places(row: Row) -> str:
    notebooks = [
        f"[{place.words}]({UP}notebooks/{find_chapter(place.chapter).filename})"
        for place in row.chapters
    ]
    files = dict.fromkeys(test.partition("::")[0] for test in row.tests)
    return "；".join([*notebooks, *(f"[`{file}`]({UP}{file})" for file in files)])


def _sources(ledger: Ledger, row: Row) -> str:
    named = []
    for one in row.sources:
        arxiv = ledger.sources[one.source].get("arxiv")
        link = f"[{one.source}](https://arxiv.org/abs/{arxiv})" if arxiv else one.source
        words = [_WHERE.get(word, word) for word in one.where.split()]
        named.append(f"{link}（{' '.join(word for word in words if word)}）")
    return "；".join(named)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = Parser("moe_course.article.ledger.page", description=first_paragraph(__doc__))
    parser.parse_args(arguments)
    write_bytes(PAGE, page(the_ledger()).encode())
    print(f"{PAGE.name} written")


if __name__ == "__main__":
    sys.exit(run_command(main))
