"""Exercises with bare numbers. Each takes a random.Random and returns a short worked exercise."""

import math

from arithmetic_stories import PEOPLE


def addition(rng):
    a, b = rng.randint(120, 899), rng.randint(120, 899)
    ones, tens, hundreds = a % 10 + b % 10, a // 10 % 10 + b // 10 % 10, a // 100 + b // 100
    parts = f"ones, {a % 10} + {b % 10} = {ones}; tens, {a // 10 % 10} + {b // 10 % 10} = {tens}; hundreds, "
    parts += f"{a // 100} + {b // 100} = {hundreds}"
    carry = "Nothing is carried." if ones < 10 and tens < 10 else "Carry where a column passes nine."
    head = rng.choice(
        [f"Add {a} and {b} by columns.", f"What is {a} plus {b}?", f"{a} + {b}, column by column."]
    )
    return f"{head} Going from the right: {parts}. {carry} So {a} + {b} = {a + b}."


def subtraction(rng):
    a, b = rng.randint(400, 999), rng.randint(51, 389)
    up = -b % 10
    near = math.ceil((b + up) / 100) * 100
    steps = [(b, b + up), (b + up, near), (near, a)]
    said = ", then ".join(f"{high - low} to reach {high}" for low, high in steps if high > low)
    jumps = " + ".join(str(high - low) for low, high in steps if high > low)
    head = rng.choice([f"How far is it from {b} to {a}?", f"Take {b} away from {a}, by counting up."])
    return (
        f"{head} Start at {b}: {said}. The jumps make {jumps} = {a - b}, and therefore {a} - {b} = {a - b}."
    )


def multiplication(rng):
    a, b = rng.randint(13, 97), rng.randint(12, 49)
    tens, ones = b // 10 * 10, b % 10
    if ones == 0:
        return f"Since {tens // 10} × {a} = {tens // 10 * a}, ten times as much is {a} × {b} = {a * b}."
    if ones > 6:
        up = tens + 10
        return (
            f"{a} × {b} is easiest from above, because {b} is close to {up}. First {a} × {up} = {a * up}. "
            f"That has "
            f"{up - b} too many lots of {a}, and {a} × {up - b} = {a * (up - b)}. What is left is "
            f"{a * up} - {a * (up - b)} = {a * b}."
        )
    return (
        f"To multiply {a} by {b}, split the second number into {tens} and {ones}. {a} × {tens} = {a * tens}; "
        f"{a} × {ones} = {a * ones}. Together {a * tens} + {a * ones} = {a * b}."
    )


def fractions(rng):
    b, d = rng.sample([2, 3, 4, 5, 6, 8, 10, 12], 2)
    a, c = rng.randint(1, b - 1), rng.randint(1, d - 1)
    common = math.lcm(b, d)
    x, y = a * common // b, c * common // d
    top = x + y
    shrink = math.gcd(top, common)
    simpler = f" Divide top and bottom by {shrink}: {top // shrink}/{common // shrink}." if shrink > 1 else ""
    size = "more than" if top > common else "exactly" if top == common else "less than"
    return (
        f"Fractions: {a}/{b} and {c}/{d}. Both can be cut into pieces of 1/{common}. The first is {x} of "
        f"them, the "
        f"second {y}, and {x} + {y} = {top}, so the sum is {top}/{common}.{simpler} That is {size} one whole."
    )


def euclid(rng):
    common = rng.randint(3, 15)
    a, b = sorted((common * rng.randint(11, 40), common * rng.randint(4, 10)), reverse=True)
    lines, x, y = [], a, b
    while y:
        lines.append(f"{x} = {x // y} × {y} + {x % y}")
        x, y = y, x % y
    return (
        f"Find the greatest number that divides both {a} and {b}. Divide, keep the remainder, and repeat:\n"
        + "\n".join(lines)
        + f"\nThe last remainder that is not zero decides it, and here the divisor in the final line is "
        f"{x}. Check: "
        f"{a} ÷ {x} = {a // x} and {b} ÷ {x} = {b // x}."
    )


def factors(rng):
    n = rng.choice([n for n in range(60, 900) if len(prime_factors(n)) >= 3])
    found, rest, steps = prime_factors(n), n, []
    for prime in found[:-1]:
        steps.append(f"{rest} ÷ {prime} = {rest // prime}")
        rest //= prime
    return (
        f"Which primes make {n}? Try the small ones first. {', '.join(steps)}, and {rest} is prime. "
        f"So {' × '.join(map(str, found))} = {n}."
    )


def prime_factors(n):
    found, prime = [], 2
    while n > 1:
        while n % prime == 0:
            found.append(prime)
            n //= prime
        prime += 1
    return found


def sequence(rng):
    start, step = rng.randint(2, 40), rng.randint(3, 17)
    kind = rng.choice(["linear", "double", "square", "gaps"])
    if kind == "linear":
        row = [start + step * i for i in range(6)]
        why = f"each number is {step} more than the one before"
    elif kind == "double":
        shift = rng.randint(1, 6)
        row = [start]
        while len(row) < 6:
            row.append(2 * row[-1] - shift)
        why = f"double, then take off {shift}"
    elif kind == "square":
        row = [(i + step) ** 2 for i in range(6)]
        why = f"these are the squares of {step}, {step + 1}, {step + 2} and so on"
    else:
        row = [start + step * i + i * (i - 1) // 2 for i in range(6)]
        why = f"the gaps are {step}, {step + 1}, {step + 2}, growing by one"
    shown = ", ".join(map(str, row[:5]))
    head = rng.choice(
        [f"What follows {shown}?", f"Continue: {shown}, ...", f"A row of numbers goes {shown}."]
    )
    return f"{head} Look at the rule: {why}. The next is {row[5]}."


def average(rng):
    n = rng.randint(4, 6)
    mean = rng.randint(36, 90)
    offsets = [rng.randint(-7, 7) for _ in range(n - 1)]
    values = [mean + offset for offset in offsets] + [mean - sum(offsets)]
    total = sum(values)
    row = sorted(values)
    low, high = row[(n - 1) // 2], row[n // 2]
    middle = (
        f"the middle one is {low}" if n % 2 else f"halfway between the middle two is {(low + high) / 2:g}"
    )
    what = rng.choice(["temperatures", "marks", "takings", "weights in kilograms", "waiting times"])
    return (
        f"The {what} were {', '.join(map(str, values))}. Sum: {' + '.join(map(str, values))} = {total}. "
        f"There are {n} of them, so the mean is {total} ÷ {n} = {mean}. For the median, sort: "
        f"{', '.join(map(str, row))}; {middle}. The spread is {row[-1]} - {row[0]} = {row[-1] - row[0]}."
    )


def claim(rng):
    a, b = rng.randint(11, 99), rng.randint(3, 9)
    wrong = a * b + rng.choice([-10, 10, -b, b, -1, 2])
    who = rng.choice(PEOPLE)
    last = a * b % 10
    reason = (
        f"the last digits alone give it away: {a % 10} × {b} ends in {last}, not in {wrong % 10}"
        if wrong % 10 != last
        else f"the last digit fits, but {a // 10 * 10} × {b} = {a // 10 * 10 * b} and "
        f"{a % 10} × {b} = {a % 10 * b}, which make {a * b}"
    )
    return (
        f"{who} claims that {b} times {a} makes {wrong}. It does not; {reason}. In fact {a} × {b} = {a * b}."
    )
