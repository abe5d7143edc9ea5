"""Several texts, cut into tokens, as one table of HTML."""

from collections.abc import Mapping
from html import escape

from moe_lib.errors import require
from moe_lib.views.kit.page_messages import number
from moe_lib.views.kit.page_messages import text as check_text
from moe_lib.views.kit.palette import BLUE
from moe_lib.views.token_view.widget import KINDS, cut, legend_html, tokens_html


class TokenTable:
    """Several texts, one per row: the name, the tokens of a sample, and tokens per character as a
    bar.

    samples   {name: text}: the text that is cut and shown
    rates     {name: tokens per character}, measured by the caller on as much text as it likes
    Attributes to read: tokens ({name: list of Token}), rates.
    """

    def __init__(self, samples: dict[str, str], rates: dict[str, float], tokenizer):
        for name, given in (("samples", samples), ("rates", rates)):
            wants = "a dict with at least one entry"
            require(isinstance(given, Mapping), name, given, wants, TypeError)
            require(len(given) > 0, name, given, wants)
        for name, text in samples.items():
            check_text("samples", name)
            check_text(f"samples[{name!r}]", text)
            require(name in rates, "rates", list(rates), f"a number for each of {list(samples)}")
            number(f"rates[{name!r}]", rates[name])
            require(rates[name] >= 0, f"rates[{name!r}]", rates[name], "0 or more")
        self.tokens = {
            name: cut(text, tokenizer, split_special_tokens=True) for name, text in samples.items()
        }
        self.rates = {name: rates[name] for name in samples}

    def __repr__(self) -> str:
        return "\n".join(
            f"{name}: {' | '.join(token.label for token in tokens)} ({self.rates[name]:.3f} "
            "per character)"
            for name, tokens in self.tokens.items()
        )

    def _repr_html_(self) -> str:
        longest = max(self.rates.values()) or 1.0
        rows = "".join(self._row(name, longest) for name in self.tokens)
        kinds = [
            kind
            for kind in KINDS
            if any(t.kind == kind for row in self.tokens.values() for t in row)
        ]
        head = "".join(
            f'<th scope="col" style="text-align:left; width:{width}">{title}</th>'
            for title, width in (
                ("Domain", "140px"),
                ("A sample, cut into tokens", "auto"),
                ("Tokens per character", "170px"),
            )
        )
        return (
            f'<p>{legend_html(kinds)}</p><table style="width:100%"><thead><tr>{head}</tr></thead>'
            f"<tbody>{rows}</tbody></table>"
        )

    def _row(self, name: str, longest: float) -> str:
        rate = self.rates[name]
        bar = (
            f'<div style="width:{max(1, round(150 * rate / longest))}px; height:12px; '
            f'background-color:{BLUE}; border:1px solid #888888"></div>'
        )
        return (
            f'<tr><th scope="row" style="text-align:left; vertical-align:top">{escape(name)}</th>'
            f'<td style="text-align:left">{tokens_html(self.tokens[name], ids=False)}</td>'
            f'<td style="text-align:left; vertical-align:top">{rate:.3f}{bar}</td></tr>'
        )
