"""How a tokenizer cuts a text: a widget to type in, and tables of several texts, both as plain
HTML.

HTML and not pictures, because a browser has the fonts for Chinese and emoji that matplotlib lacks.
Styles stand in each element: JupyterLab removes style sheets from notebooks that are not trusted.
"""

from collections import Counter
from dataclasses import dataclass
from html import escape

import ipywidgets as widgets

from moe_lib.tracing.token_labels import require_fast, visible
from moe_lib.views.kit.attributes import KnownAttributes
from moe_lib.views.kit.page_messages import text as check_text
from moe_lib.views.kit.wording import count

EXAMPLE = (
    "Tokens are pieces of words.\nfor i in range(1024):\n    total += prices[i]\n分词 "
    "takes more. 🙂"
)
MAX_SHOWN = 600  # tokens; a browser becomes slow with many more elements

# kind -> (fill, border, what it is): light tints of Okabe and Ito's colours, and a border of its
# own for each kind
KINDS = {
    "several": ("#cfe8f7", "1px solid #00517d", "several characters"),
    "one": ("#fbe3ad", "1px dotted #5c4000", "one character"),
    "part": ("#f3d3e3", "2px dashed #7a2a55", "part of a character (bytes in hexadecimal)"),
    "special": ("#d9d9d9", "3px double #333333", "special token"),
}
_CHIP = (
    "display:inline-block; color:#000000; background-color:{fill}; border:{border}; "
    "border-radius:3px; "
    "padding:0px 3px; margin:1px; text-align:center; line-height:1.25; font-size:13px; "
    "vertical-align:top"
)
_MONO = "font-family:monospace; white-space:pre"
# A block under the label; GitHub drops all styles, and there it stays a small number behind it.
_NUMBER = "display:block; font-size:11px; line-height:1.25"


@dataclass(frozen=True)
class Token:
    """One token of a text.

    id      its number
    label   what to show: its characters with visible spaces, or its bytes as "E4 B8" if it ends
            inside a character
    kind    "several", "one", "part" or "special", see KINDS
    place   (start, end) in the text, in characters; the tokens that make up one character share its
            place
    whole   the characters at that place
    """

    id: int
    label: str
    kind: str
    place: tuple[int, int]
    whole: str


def cut(text: str, tokenizer, split_special_tokens: bool = False) -> list[Token]:
    """The tokens of `text`, in order.

    tokenizer              a fast, byte-level tokenizer, such as the course's
    split_special_tokens   read "<|end|>" in the text as plain characters

    Raises TypeError for a text that is no str or a tokenizer that is not fast, ValueError if it is
    not byte-level.
    """
    check_text("text", text)
    require_fast(tokenizer)
    encoded = tokenizer(
        text,
        return_offsets_mapping=True,
        add_special_tokens=False,
        verbose=False,
        split_special_tokens=split_special_tokens,
    )
    special = {one for one, token in tokenizer.added_tokens_decoder.items() if token.special}
    ids, places = encoded["input_ids"], encoded["offset_mapping"]
    names = tokenizer.convert_ids_to_tokens(ids)
    tokens = []
    for i, (one, (start, end), name) in enumerate(zip(ids, places, names, strict=True)):
        shared = (i > 0 and places[i - 1][1] > start) or (
            i + 1 < len(ids) and places[i + 1][0] < end
        )
        if one in special:
            tokens.append(Token(one, name, "special", (start, end), name))
        elif shared:
            tokens.append(
                Token(one, _hexadecimal(name), "part", (start, end), visible(text[start:end]))
            )
        else:
            kind = "one" if end - start == 1 else "several"
            label = visible(text[start:end])
            tokens.append(Token(one, label, kind, (start, end), label))
    return tokens


def summarise(text: str, tokens: list[Token]) -> str:
    """The cut in words: characters, bytes, tokens, and the tokens of each kind."""
    if not text:
        return "There is no text yet. Type some to see its tokens."
    kinds = Counter(token.kind for token in tokens)
    parts = ", ".join(f"{kinds[kind]} {KINDS[kind][2]}" for kind in KINDS if kinds[kind])
    size = len(text.encode("utf-8", errors="surrogatepass"))
    return (
        f"{count(len(text), 'character')} ({count(size, 'byte')}) became "
        f"{count(len(tokens), 'token')}, "
        f"{len(tokens) / len(text):.2f} per character: {parts}."
    )


def tokens_html(tokens: list[Token], ids: bool = True) -> str:
    """The tokens as boxes, each with its label and, below it, its id; a line end starts a new line.

    A character that is made of several tokens stands, with an equals sign, before the boxes of its
    bytes.
    """
    boxes, place = [], None
    for token in tokens[:MAX_SHOWN]:
        whole = token.kind == "part" and token.place != place
        if whole:  # stays on one line with its first box
            boxes.append(f'<span style="white-space:nowrap">{escape(token.whole)} = ')
        place = token.place
        fill, border, what = KINDS[token.kind]
        below = f'<sub style="{_NUMBER}">{token.id}</sub>' if ids else ""
        boxes.append(
            f'<span style="{_CHIP.format(fill=fill, border=border)}" title="{what}">'
            f'<span style="{_MONO}">{escape(token.label)}</span>{below}</span>'
            f"{'</span>' if whole else ''} "
        )
        if token.label.endswith("⏎"):
            boxes.append("<br>")
    more = len(tokens) - MAX_SHOWN
    return "".join(boxes) + (f"<p>… and {count(more, 'more token')}.</p>" if more > 0 else "")


def legend_html(kinds=tuple(KINDS)) -> str:
    """What the fills and borders mean."""
    colours = {kind: _CHIP.format(fill=KINDS[kind][0], border=KINDS[kind][1]) for kind in kinds}
    boxes = [f'<span style="{colours[kind]}">{KINDS[kind][2]}</span> ' for kind in kinds]
    return "Boxes: " + "".join(boxes)


class TokenView(KnownAttributes, widgets.VBox):
    """Type any text and see how a tokenizer cuts it.

    To set:   text (or text_area.value)
    To read:  tokens (list of Token), summary (the cut in words), html() (what is shown, without the
    text area)
    """

    TELLS = ("tokens",)

    def __init__(self, tokenizer, text: str = EXAMPLE):
        self._tokenizer = tokenizer
        self._tokens = cut(text, tokenizer)
        self.text_area = widgets.Textarea(
            text,
            description="Text",
            placeholder="Type any text",
            rows=5,
            layout={"width": "98%"},
            style={"description_width": "45px"},
            tooltip="Any text. The boxes below follow as you type.",
        )
        self._boxes = widgets.HTML()
        super().__init__([self.text_area, self._boxes])
        self.text_area.observe(lambda change: self._show(), "value")
        self._show()
        self._made = True

    @property
    def text(self) -> str:
        return self.text_area.value

    @text.setter
    def text(self, text: str) -> None:
        check_text("text", text)
        self.text_area.value = text

    @property
    def summary(self) -> str:
        return summarise(self.text, self.tokens)

    def html(self) -> str:
        """The summary, the boxes and the legend."""
        return (
            "<p "
            f'role="status"><strong>{escape(self.summary)}</strong></p><div>{tokens_html(self.tokens)}</div>'
            f"<p>{legend_html()}</p>"
        )

    def _show(self) -> None:
        try:
            self._tokens = cut(self.text, self._tokenizer)
        except ValueError as error:  # typed: the page cannot raise, and the boxes stay
            self._boxes.value = f'<p role="alert">{escape(str(error))}</p>{self._boxes.value}'
            return
        self._boxes.value = self.html()

    def _repr_mimebundle_(self, **options) -> dict:
        """The live widget and, for readers without a kernel, the text and its tokens as HTML."""
        live = super()._repr_mimebundle_(**options)
        live = live[0] if isinstance(live, tuple) else live
        text = f'<pre style="white-space:pre-wrap" dir="auto">\n{escape(self.text)}</pre>'
        return {**live, "text/html": text + self.html(), "text/plain": self.summary}


def _hexadecimal(name: str) -> str:
    """The bytes of a byte-level token, "E4 B8"."""
    try:
        return " ".join(f"{BYTE_OF[character]:02X}" for character in name)
    except KeyError as error:
        raise ValueError(
            f"tokenizer: its token {name!r} is not made of bytes; wants a byte-level one"
        ) from error


def _bytes_by_sign() -> dict[str, int]:
    """GPT-2 writes each byte as one visible character: itself where that prints, else one from code
    point 256 on."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printing]
    return {
        **{chr(byte): byte for byte in printing},
        **{chr(256 + n): byte for n, byte in enumerate(hidden)},
    }


BYTE_OF = _bytes_by_sign()  # {sign: byte}, for every byte-level tokenizer
