"""Two machines with half of the experts each: tokens go to the other one once, and come back."""

from moe_lib.views.drawings.canvas import Canvas
from moe_lib.views.drawings.drawing import Drawing
from moe_lib.views.drawings.shapes import Box

# Tokens of each machine with their two experts; experts 0 and 1 are on machine 0, 2 and 3 on 1.
TOKENS = ({"a": (0, 1), "b": (0, 2), "c": (2, 3)}, {"d": (2, 3), "e": (1, 3), "f": (0, 1)})
EACH = 2  # experts on a machine
_HUES = (4, 5)  # of the machines' tokens
_SHARED = 6
_GAP = (330, 426)  # between the machines, in pixels

WORDS = (
    "Two machines stand side by side. Machine 0 holds experts 0 and 1, machine 1 experts 2 and 3; "
    "each has a router of its own, the same, and the shared expert, which its own tokens pass "
    "without travelling. Each has three tokens, and each token has two experts. Token a needs "
    "experts 0 and 1 and stays; b needs 0 and 2, and c needs 2 and 3: both travel to machine 1, c "
    "once for its two experts. Of machine 1's tokens d stays, and e and f travel to machine 0. "
    "Solid arrows lead them there: dispatch. The experts' weighted sums come back along dashed "
    "arrows: combine. Six of the twelve choices are on the other machine, and four rows travel for "
    "them each way."
)


def travellers(machine: int) -> list[str]:
    """The tokens of a machine that need an expert of the other one."""
    own = range(EACH * machine, EACH * machine + EACH)
    return [name for name, experts in TOKENS[machine].items() if set(experts) - set(own)]


def two_machines() -> Drawing:
    """Tokens, experts and what travels between two machines, there and back."""
    draw = Canvas("two_machines", "Two machines exchange tokens", WORDS, 756, 446)
    doors = [_machine(draw, machine) for machine in (0, 1)]
    for machine in (0, 1):
        leaves, arrives = doors[machine][0], doors[1 - machine][1]
        _travel(draw, leaves, arrives, machine)
    middle = sum(_GAP) / 2
    draw.label(middle, 170, "solid:\ndispatch", size=13, bold=True)
    draw.label(middle, 318, "dashed:\ncombine", size=13, bold=True)
    away = sum(expert // EACH != m for m in (0, 1) for t in TOKENS[m].values() for expert in t)
    rows = sum(len(travellers(machine)) for machine in (0, 1))
    note = f"{away} of 12 choices are on the other machine; {rows} rows travel for them each way"
    draw.label(378, 434, note, size=13, muted=True)
    return draw.drawing()


def _machine(draw: Canvas, machine: int) -> tuple[Box, Box]:
    """A machine with its tokens and experts; the boxes of what leaves it and of what arrives."""
    other, left = 1 - machine, 6 if machine == 0 else _GAP[1]
    draw.box(left, 30, 324, 386, edge="dashed")
    draw.label(left + 162, 16, f"machine {machine}", bold=True)
    outer, inner = (left + 12, left + 186) if machine == 0 else (left + 212, left + 30)
    leaves = draw.box(inner, (204, 268)[machine], 108, 40, f"to {other}: {_said(machine)}", size=13)
    arrives = draw.box(
        inner, (268, 204)[machine], 108, 40, f"from {other}: {_said(other)}", size=13
    )
    experts = [
        draw.box(inner, 52 + 62 * place, 108, 36, f"expert {EACH * machine + place}", size=13)
        for place in range(EACH)
    ]
    tokens = {}
    for place, (name, chosen) in enumerate(TOKENS[machine].items()):
        text = f"{name}: {chosen[0]}, {chosen[1]}"
        y = 56 + 66 * place
        tokens[name] = draw.box(outer, y, 100, 40, text, hue=_HUES[machine], bold=True)
    for name, box in tokens.items():
        start = box.right if machine == 0 else box.left
        for expert in TOKENS[machine][name]:
            if expert // EACH == machine:
                target = experts[expert % EACH]
                end = target.left if machine == 0 else target.right
                draw.arrow(start, end, hue=_HUES[machine])
        if name in travellers(machine):
            draw.arrow(start, leaves.left if machine == 0 else leaves.right, hue=_HUES[machine])
    side = inner + (120 if machine == 0 else -12)
    _to_experts(draw, arrives, experts, side, _HUES[other])
    words = "shared expert: for its own tokens"
    shared = draw.box(left + 12, 352, 300, 44, words, hue=_SHARED, size=13)
    draw.arrow((outer + 50, 228), (outer + 50, shared.y), hue=_SHARED)
    return leaves, arrives


def _to_experts(draw: Canvas, arrives: Box, experts: list[Box], side: float, hue: int) -> None:
    """From what has arrived to the experts above it, along the machine's inner edge."""
    edge = "right" if side > arrives.middle[0] else "left"
    start = getattr(arrives, edge)
    for expert in experts:
        end = getattr(expert, edge)
        draw.arrow(start, (side, start[1]), (side, end[1]), end, hue=hue)


def _travel(draw: Canvas, leaves: Box, arrives: Box, machine: int) -> None:
    """There, solid; back, dashed."""
    start = leaves.right if machine == 0 else leaves.left
    end = arrives.left if machine == 0 else arrives.right
    there, back = start[1] - 8, start[1] + 10
    draw.arrow((start[0], there), (end[0], there), hue=_HUES[machine], stroke=3)
    draw.arrow((end[0], back), (start[0], back), hue=_HUES[machine], dashed=True, stroke=2)


def _said(machine: int) -> str:
    return ", ".join(travellers(machine))
