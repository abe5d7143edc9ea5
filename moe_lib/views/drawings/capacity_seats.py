"""A capacity limit as seats: first choices sit before second ones, in the order of the text."""

from moe_lib.views.drawings.canvas import Canvas
from moe_lib.views.drawings.drawing import Drawing

TEXT = ("the", "cat", "sat", "on", "the", "mat")
CHOICES = ((0, 1), (1, 0), (0, 2), (0, 3), (0, 1), (1, 0))  # of each token: first, second expert
ROOM, EXPERTS = 3, 4  # ceil(1 · 6 · 2 / 4)
_BELOW = str.maketrans("123456", "₁₂₃₄₅₆")
_HUES = (4, 0, 2, 6)

WORDS = (
    "Six tokens, each with a first and a second choice of four experts; an expert has three seats, "
    "its even share of the twelve choices. All first choices are seated before the second ones, "
    "each in the order of the text. Expert 0 is the first choice of four tokens: the first, third "
    "and fourth sit down, and the fifth finds it full. Then the second choices come. Expert 1 has "
    "one seat left for the first token; expert 0 has none for the second and the sixth, and expert "
    "1 none for the fifth. Experts 2 and 3 keep two seats empty each. Four of twelve choices are "
    "dropped, and the fifth token loses both: only the residual stream carries it on."
)


def seating() -> tuple[list[list[str]], list[list[str]]]:
    """For each expert the choices that sit, and those that found it full, in words."""
    seated, dropped = ([[] for _ in range(EXPERTS)] for _ in range(2))
    for rank, place in enumerate(("first", "second")):
        for token, choices in enumerate(CHOICES):
            expert = choices[rank]
            where = seated if len(seated[expert]) < ROOM else dropped
            where[expert].append(f"{_name(token)} {place}")
    return seated, dropped


def capacity_seats() -> Drawing:
    """Four experts with three seats each, and the choices that found none."""
    draw = Canvas("capacity_seats", "Capacity: seats of the experts", WORDS, 740, 372)
    draw.label(8, 20, "the text", anchor="start", bold=True)
    for token, (first, second) in enumerate(CHOICES):
        box = draw.box(100 + 105 * token, 6, 76, 28, _name(token), mono=True)
        wants = f"first: {first}\nsecond: {second}"
        draw.label(box.middle[0], 48, wants, size=12.5)

    edge = 100 + ROOM * 112
    draw.label(100, 102, f"{ROOM} seats each", anchor="start", bold=True)
    draw.label(edge + 18, 102, "dropped: the expert was full", anchor="start", bold=True)
    draw.line((edge + 6, 116), (edge + 6, 308), stroke=3)
    seated, dropped = seating()
    for expert in range(EXPERTS):
        y = 120 + 48 * expert
        draw.label(8, y + 18, f"expert {expert}", anchor="start")
        for seat in range(ROOM):
            text = seated[expert][seat] if seat < len(seated[expert]) else ""
            looks = dict(hue=_HUES[expert]) if text else dict(edge="dashed")
            draw.box(100 + 112 * seat, y, 106, 36, text or "empty", size=13, **looks)
        for place, text in enumerate(dropped[expert]):
            draw.box(edge + 18 + 92 * place, y, 88, 36, text, size=12, edge="dashed")
    note = f"{_name(4)} has lost both choices: only the residual stream carries it on.\n"
    note += "Experts 2 and 3 have empty seats that nobody asked for."
    draw.label(100, 332, note, anchor="start", size=13)
    return draw.drawing()


def _name(token: int) -> str:
    return TEXT[token] + str(token + 1).translate(_BELOW)
