"""Exercises told as small stories. Each takes a random.Random and returns a short worked
exercise."""

PEOPLE = (
    "Adira Bram Celeste Davit Eluned Farrukh Greta Hamish Ilka Jomo Katya Lionel Mirela Nadir Odette Pascal "
    "Quilla Rafe Senna Tobin Ursel Vasco Winnie Xavi Yelena Zubin"
).split()
GOODS = [
    ("notebook", 1.35), ("pear", 0.4), ("lamp", 17.8), ("rope", 6.25), ("teapot", 12.9), ("string", 2.15),
    ("candle", 0.95), ("map", 4.6), ("umbrella", 9.75), ("loaf", 2.3), ("honey pot", 5.45), ("stamp", 0.85),
]
THINGS = "buttons shells marbles tickets walnuts tiles pencils seeds postcards beads coins stickers".split()


def people(rng, n):
    return rng.sample(PEOPLE, n)


def division(rng):
    divisor, quotient = rng.randint(6, 19), rng.randint(12, 88)
    rest = rng.randrange(divisor)
    total = divisor * quotient + rest
    who, thing = rng.choice(PEOPLE), rng.choice(THINGS)
    tens = quotient // 10 * 10
    left = total - divisor * tens
    end = f"and {rest} left over" if rest else "and none left over"
    more = f"With those, {quotient - tens} × {divisor} = {divisor * (quotient - tens)} fill further bags. "
    more = more if quotient > tens else "That is too few for another bag. "
    return (
        f"{who} packs {total} {thing} into bags of {divisor}. {tens} bags use {tens} × {divisor} = "
        f"{divisor * tens}, "
        f"which leaves {total} - {divisor * tens} = {left}. {more}"
        f"The answer is {quotient} bags {end}: {divisor} × {quotient} + {rest} = {total}."
    )


def shopping(rng):
    (first, price1), (second, price2) = rng.sample(GOODS, 2)
    n, m = rng.randint(2, 6), rng.randint(2, 4)
    one, two = n * price1, m * price2
    paid = next(note for note in (5, 10, 20, 50, 100, 200) if note > one + two)
    who = rng.choice(PEOPLE)
    verb = rng.choice(["wants", "carries to the till", "needs", "orders", "has chosen"])
    return (
        f"{who} {verb} {n} of the item marked {first} ({price1:.2f} each) and {m} marked {second} "
        f"({price2:.2f} each). {n} × {price1:.2f} = {one:.2f}. {m} × {price2:.2f} = {two:.2f}. The bill is "
        f"{one:.2f} + {two:.2f} = {one + two:.2f}, and the change from {paid} is "
        f"{paid}.00 - {one + two:.2f} = {paid - one - two:.2f}."
    )


def percentage(rng):
    percent, base = rng.choice([5, 10, 15, 20, 25, 30, 40, 60]), rng.randint(3, 48) * 20
    part = base * percent // 100
    if rng.random() < 0.5:
        crowd = rng.choice(["passengers", "pupils", "voters", "eggs", "letters", "seats"])
        state = rng.choice(["late", "new", "damaged", "blue", "from the coast"])
        return (
            f"Of {base} {crowd}, {part} are {state}. As a percentage: {part} ÷ {base} × 100 = {percent}, so "
            f"{percent} in "
            f"every hundred. The rest, {base} - {part} = {base - part}, make up {100} - {percent} = "
            f"{100 - percent} percent."
        )
    up = rng.random() < 0.5
    event = rng.choice(
        ["The rent", "A ticket", "The price of a stove", "A club's membership", "The bus fleet"]
    )
    change = f"{base} + {part} = {base + part}" if up else f"{base} - {part} = {base - part}"
    return (
        f"{event} was {base} and has {'risen' if up else 'fallen'} by {percent} percent. A tenth is "
        f"{base // 10}, and so "
        f"{percent} percent is {base // 10} × {percent} ÷ 10 = {part}. Now it is {change}."
    )


def clock(rng):
    start, minutes = rng.randint(6 * 60, 18 * 60), rng.randint(35, 290)
    end = start + minutes
    to_hour = -start % 60
    who = rng.choice(PEOPLE)
    what = rng.choice(
        ["a train sets off", "a film begins", "the ferry sails", f"{who} starts to bake", "a rehearsal opens"]
    )
    after = minutes - to_hour
    hint = f"{to_hour} minutes take us to the full hour; {after} are left, "
    hint += f"which is {after // 60} h {after % 60} min"
    if after < 0 or to_hour == 0:
        hint = f"{minutes} minutes are {minutes // 60} h {minutes % 60} min"
    return (
        f"At {start // 60}.{start % 60:02d} {what}. {minutes} minutes later it is over. When is that? "
        f"{hint}. "
        f"So the end comes at {end // 60}.{end % 60:02d}."
    )


def journey(rng):
    speed, half_hours = rng.choice([12, 16, 40, 48, 64, 70, 80, 90]), rng.randint(3, 11)
    distance = speed * half_hours // 2
    hours = f"{half_hours // 2}.5" if half_hours % 2 else f"{half_hours // 2}"
    vehicle = rng.choice(["bus", "delivery van", "lorry", "ferry", "train", "motorcycle"])
    other = rng.choice([s for s in (10, 20, 25, 50, 60, 100) if s != speed])
    quick = "sooner" if other > speed else "later"
    return (
        f"A {vehicle} keeps to {speed} km an hour for {hours} hours. It covers {speed} × {hours} = "
        f"{distance} km. At "
        f"{other} km an hour the same road would take {distance} ÷ {other} hours, about "
        f"{round(60 * distance / other)} minutes, and it would arrive {quick}."
    )


def ages(rng):
    one, two = people(rng, 2)
    young, gap = rng.randint(4, 19), rng.randint(2, 9)
    total = 2 * young + gap
    if rng.random() < 0.5:
        later = rng.randint(3, 12)
        return (
            f"{one} is {young + gap} now and {two} {young}. In {later} years their ages will add up to how "
            f"much? Both grow "
            f"older, so the sum gains 2 × {later} = {2 * later}: {total} + {2 * later} = "
            f"{total + 2 * later}. The gap of "
            f"{gap} years stays what it was."
        )
    return (
        f"{one} and {two} are {total} years old together, and {one} is {gap} years the elder. How old is "
        f"each? Take the "
        f"difference away: {total} - {gap} = {total - gap}. Share that equally: {total - gap} ÷ 2 = "
        f"{young}. {two} is "
        f"{young} and {one} is {young + gap}; indeed {young} + {young + gap} = {total}."
    )


def think_of(rng):
    n, times, plus = rng.randint(3, 30), rng.randint(2, 9), rng.randint(4, 40)
    result = n * times + plus
    who = rng.choice(PEOPLE)
    verb = rng.choice(["thinks of", "writes down", "hides"])
    return (
        f'"{who} {verb} a number, multiplies it by {times}, adds {plus}, and gets {result}. Which number '
        f'was it?" Walk '
        f"backwards. Before the adding it was {result} - {plus} = {n * times}, and before the multiplying "
        f"{n * times} ÷ {times} = {n}."
    )


def heads_and_legs(rng):
    few, many = rng.randint(4, 30), rng.randint(3, 25)
    n = few + many
    if rng.random() < 0.5:
        legs = 2 * few + 4 * many
        return (
            f"In a yard there are hens and goats, {n} heads and {legs} legs. Suppose that all were hens: "
            f"then there would "
            f"be 2 × {n} = {2 * n} legs. The {legs} - {2 * n} = {2 * many} missing ones come from goats, "
            f"two extra for "
            f"each. Goats: {2 * many} ÷ 2 = {many}. Hens: {n} - {many} = {few}."
        )
    wheels = 3 * few + 4 * many
    return (
        f"A toyshop counts {n} vehicles, tricycles and carts, and {wheels} wheels. How many carts has it? "
        f"Were every one a "
        f"cart, we would see 4 × {n} = {4 * n} wheels, which is {4 * n} - {wheels} = {few} too many. Each "
        f"tricycle accounts "
        f"for one of those. So {few} tricycles, and {n} - {few} = {many} carts."
    )


def room(rng):
    a, b, tile = rng.randint(3, 14), rng.randint(3, 14), rng.choice([2, 4, 5])
    inside = rng.choice(["field", "courtyard", "floor", "garden", "stage"])
    per = tile * tile
    return (
        f"A {inside} measures {a} m by {b} m. Its edge is 2 × ({a} + {b}) = {2 * (a + b)} m and its area "
        f"{a} × {b} = {a * b} square metres. If both sides were {tile} times as long, the edge would grow "
        f"{tile} times, "
        f"but the area {tile} × {tile} = {per} times: {a * b} × {per} = {a * b * per}."
    )


def ordering(rng):
    a, b, c, d = people(rng, 4)
    thing = rng.choice(
        [("taller", "tallest"), ("older", "oldest"), ("faster", "fastest"), ("louder", "loudest")]
    )
    clues = [f"{a} is {thing[0]} than {b}", f"{b} is {thing[0]} than {c}", f"{d} is {thing[0]} than {a}"]
    rng.shuffle(clues)
    return (
        f"Puzzle. {clues[0]}; {clues[1]}; {clues[2]}. Who is the {thing[1]}? Put the pairs end to end: {d}, "
        f"{a}, {b}, "
        f"{c}. The {thing[1]} is {d}, and {c} comes last."
    )


def coins(rng):
    amount = rng.randint(31, 199)
    kinds, rest, used = (50, 20, 10, 5, 2, 1), amount, []
    for kind in kinds:
        if rest >= kind:
            used.append((rest // kind, kind))
            rest %= kind
    listing = ", ".join(f"{count} of {kind}" for count, kind in used)
    total = " + ".join(f"{count} × {kind}" for count, kind in used)
    return (
        f"Pay {amount} with as few coins as possible, from 50, 20, 10, 5, 2 and 1. Always take the largest "
        f"that fits: "
        f"{listing}. Adding up, {total} = {amount}, with {sum(count for count, _ in used)} coins."
    )


def handshakes(rng):
    n = rng.randint(5, 40)
    pairs = n * (n - 1) // 2
    what = rng.choice(
        ["guests shake hands, each with each, once", "towns get a direct road to every other",
         "chess players meet, everybody playing everybody"]
    )
    if rng.random() < 0.5:
        return (
            f"{n} {what}. One way to count: the first has {n - 1} partners, the next {n - 2} who are new, "
            f"and so on down to "
            f"1. The sum from 1 to {n - 1} is {n - 1} × {n} ÷ 2 = {pairs}."
        )
    return (
        f"{n} {what}. How many is that in all? Every one of the {n} has {n - 1} partners: {n} × {n - 1} = "
        f"{2 * pairs}. "
        f"But each pair was counted from both ends, so halve it: {2 * pairs} ÷ 2 = {pairs}."
    )
