"""Wrong answers to the exercises of chapter 01: each is refused, with the hint that fits it."""

import random
from collections import Counter
from itertools import pairwise

import torch

from moe_course import check
from moe_lib.text import pack
from tests.course.checks.wrong_answers import cases, refused


def merged(ids, pair, new):
    result, place = [], 0
    while place < len(ids):
        found = tuple(ids[place : place + 2]) == pair
        result.append(new if found else ids[place])
        place += 2 if found else 1
    return result


def best(ids, key=lambda pair: pair):
    pairs = Counter(pairwise(ids))
    return min(pairs, key=lambda pair: (-pairs[pair], key(pair)))


def merge_step(ids, new):
    return merged(ids, best(ids), new), best(ids)


def without_overlaps(ids, new):
    """str.count does not count overlaps."""
    text = "".join(map(chr, ids))
    pair = min(set(pairwise(ids)), key=lambda p: (-text.count(chr(p[0]) + chr(p[1])), p))
    return merged(ids, pair, new), pair


def in_the_given_list(ids, new):
    pair = best(ids)
    ids[:] = merged(ids, pair, new)
    return ids, pair


def twice_merged(ids, new):
    """Goes on one place after a merge, where it should go on two."""
    pair = best(ids)
    return [new if two == pair else two[0] for two in pairwise([*ids, None])], pair


def first_only(ids, new):
    pair = best(ids)
    at = list(pairwise(ids)).index(pair)
    return [*ids[:at], new, *ids[at + 2 :]], pair


def from_the_right(ids, new):
    pair = best(ids)
    return merged(ids[::-1], pair[::-1], new)[::-1], pair


def digits_as_text(ids, new):
    pair = best(ids)
    text = ",".join(map(str, ids)).replace(",".join(map(str, pair)), str(new))
    return [int(one) for one in text.split(",")], pair


def until_nothing_repeats(ids, new):
    pair, ids = best(ids), list(ids)
    while new not in ids or Counter(pairwise(ids)).most_common(1)[0][1] > 1:
        ids = merged(ids, best(ids), new)
        if len(ids) < 2:
            break
    return ids, pair


MERGE = {
    "first seen of equals": (
        lambda x, new: (
            merged(x, Counter(pairwise(x)).most_common(1)[0][0], new),
            Counter(pairwise(x)).most_common(1)[0][0],
        ),
        "each occur once; the smallest is",
    ),
    "largest of equals": (
        lambda x, new: (
            merged(x, best(x, lambda p: (-p[0], -p[1])), new),
            best(x, lambda p: (-p[0], -p[1])),
        ),
        "each occur once; the smallest is",
    ),
    "smallest right one first": (
        lambda x, new: (merged(x, best(x, lambda p: p[::-1]), new), best(x, lambda p: p[::-1])),
        "Of equally frequent ones the smallest wins",
    ),
    "overlaps not counted": (without_overlaps, "overlaps count"),
    "merged twice": (twice_merged, "a token was merged twice"),
    "in one place only": (first_only, "in one place only"),
    "from the right": (from_the_right, "from right to left"),
    "again and again": (until_nothing_repeats, "one step merges one pair"),
    "the old list": (lambda x, new: (list(x), best(x)), "did you return the old list"),
    "changes its argument": (in_the_given_list, "changed the list it was given"),
    "pair first": (
        lambda x, new: (best(x), merged(x, best(x), new)),
        "the pair first. Return the new list first",
    ),
    "ids alone": (lambda x, new: merged(x, best(x), new), "should return a list and a pair"),
    "ids as a tuple": (
        lambda x, new: (tuple(merged(x, best(x), new)), best(x)),
        "a tuple; want a list",
    ),
    "pair as a list": (
        lambda x, new: (merged(x, best(x), new), list(best(x))),
        "should return a list and a pair",
    ),
    "replaced as text": (digits_as_text, r"the ids of merge_step"),
    "another new id": (lambda x, new: merge_step(x, max(x) + 1), "the ids of merge_step"),
}


def spelled(ids, merges, turned=False):
    parts = {new: pair[::-1] if turned else pair for pair, new in merges.items()}

    def spell(one):
        return bytes([one]) if one < 256 else b"".join(map(spell, parts[one]))

    return b"".join(map(spell, ids))


def once_expanded(ids, merges):
    parts = {new: pair for pair, new in merges.items()}
    return [one for number in ids for one in parts.get(number, (number,))]


def cut_until_it_decodes(data):
    while True:
        try:
            return data.decode()
        except UnicodeDecodeError:
            data = data[:-1]


DECODE = {
    "bytes": (spelled, "these are the bytes; want a text"),
    "each id alone": (
        lambda ids, m: "".join(spelled([one], m).decode(errors="replace") for one in ids),
        "each id was decoded by itself",
    ),
    "code points": (
        lambda ids, m: "".join(map(chr, ids)),
        "not a character's code point but a merge",
    ),
    "bytes as characters": (
        lambda ids, m: "".join(map(chr, spelled(ids, m))),
        "bytes of UTF-8, not code points",
    ),
    "latin-1": (lambda ids, m: spelled(ids, m).decode("latin-1"), "bytes of UTF-8, not code"),
    "merges left out": (
        lambda ids, m: bytes(one for one in ids if one < 256).decode(errors="replace"),
        "from 256 on were left out",
    ),
    "one level deep": (
        lambda ids, m: bytes(once_expanded(ids, m)).decode(errors="replace"),
        "taken for a byte.*when have you reached the bytes",
    ),
    "left and right exchanged": (
        lambda ids, m: spelled(ids, m, turned=True).decode(errors="replace"),
        "left and right were exchanged",
    ),
    "strict": (lambda ids, m: spelled(ids, m).decode(), "half a character.*can replace"),
    "ignore": (lambda ids, m: spelled(ids, m).decode(errors="ignore"), "dropped in silence"),
    "end cut off": (lambda ids, m: cut_until_it_decodes(spelled(ids, m)), "dropped in silence"),
    "backslashes": (
        lambda ids, m: spelled(ids, m).decode(errors="backslashreplace"),
        "not as the numbers of its bytes",
    ),
    "surrogates": (
        lambda ids, m: spelled(ids, m).decode(errors="surrogateescape"),
        "cannot even be printed",
    ),
    "question mark": (
        lambda ids, m: spelled(ids, m).decode(errors="replace").replace("\ufffd", "?"),
        "first difference is at position 2",
    ),
    "uses up its ids": (
        lambda ids, m: spelled([ids.pop(0) for _ in list(ids)], m).decode(errors="replace"),
        "changed its arguments",
    ),
}


def split_documents(documents, length, end, order, n=None):
    n = len(documents) // 10 if n is None else n
    held, train = [documents[i] for i in order[:n]], [documents[i] for i in order[n:]]
    return tuple(pack(side, length, end).input_ids for side in (train, held))


def shuffled(documents):
    return torch.randperm(len(documents)).tolist()


def split_rows(documents, length, end):
    rows = pack(documents, length, end).input_ids
    rows = rows[torch.randperm(len(rows))]
    return rows[len(rows) // 10 :], rows[: len(rows) // 10]


def last_rows(documents, length, end):
    rows = pack([documents[i] for i in shuffled(documents)], length, end).input_ids
    return rows[: -len(rows) // 10], rows[-len(rows) // 10 :]


def without_shared_rows(documents, length, end):
    train, held = split_rows(documents, length, end)
    seen = set(held.unique().tolist()) - {end}
    return train[[not seen & set(row) for row in train.tolist()]], held


def drawn_with_replacement(documents, length, end):
    order = shuffled(documents)
    rest = [order[4 + int(i)] for i in torch.randint(36, (36,))]
    return split_documents(documents, length, end, order[:4] + rest)


def without_end(documents, length, end):
    order = shuffled(documents)
    sides = [[one for i in part for one in documents[i]] for part in (order[4:], order[:4])]
    return tuple(
        torch.tensor(side[: len(side) // length * length]).view(-1, length) for side in sides
    )


def padded(documents, length, end):
    order = shuffled(documents)
    cut = [
        [documents[i][at : at + length] for i in part for at in range(0, len(documents[i]), length)]
        for part in (order[4:], order[:4])
    ]
    return tuple(torch.tensor([row + [end] * (length - len(row)) for row in side]) for side in cut)


def first_row_of_each(documents, length, end):
    short = [document[: length - 1] for document in documents]
    return split_documents(short, length, end, shuffled(documents))


def by_length(documents, longest):
    order = range(len(documents))
    return sorted(order, key=lambda i: -len(documents[i]) if longest else len(documents[i]))


SPLIT = {
    "the broken code": (split_rows, "also stand in the training rows"),
    "last rows held out": (last_rows, "also stand in the training rows"),
    "all documents for training": (
        lambda d, n, e: (
            pack(d, n, e).input_ids,
            split_documents(d, n, e, shuffled(d))[1],
        ),
        "also stand in the training rows",
    ),
    "first tenth": (
        lambda d, n, e: split_documents(d, n, e, range(len(d))),
        r"numbers 0 to 3, one after the other.*lie sorted",
    ),
    "last tenth": (
        lambda d, n, e: split_documents(d, n, e, range(len(d))[::-1]),
        r"numbers 36 to 39, one after the other",
    ),
    "shortest": (
        lambda d, n, e: split_documents(d, n, e, by_length(d, False)),
        "shortest or longest",
    ),
    "longest": (
        lambda d, n, e: split_documents(d, n, e, by_length(d, True)),
        "shortest or longest",
    ),
    "exchanged": (
        lambda d, n, e: split_documents(d, n, e, shuffled(d))[::-1],
        "were the two exchanged",
    ),
    "one document": (
        lambda d, n, e: split_documents(d, n, e, shuffled(d), 1),
        "1 of 40 documents are held out",
    ),
    "a quarter": (
        lambda d, n, e: split_documents(d, n, e, shuffled(d), 10),
        "10 of 40 documents are held out",
    ),
    "rows of both sides dropped": (without_shared_rows, r"Only \d+ of \d+ tokens|are held out"),
    "first row of each": (first_row_of_each, r"Only \d+ of \d+ tokens"),
    "with replacement": (drawn_with_replacement, "more than once"),
    "no end token": (without_end, "no end token"),
    "padded": (padded, "needs no padding"),
    "the Packed itself": (
        lambda d, n, e: (pack(d[4:], n, e), pack(d[:4], n, e)),
        r"a Packed has it as \.input_ids",
    ),
    "one tensor": (lambda d, n, e: pack(d, n, e).input_ids, "Return two tensors"),
}


@cases(MERGE)
def test_wrong_merge_step_is_refused_with_its_hint(answer, hint):
    refused("01.1", answer, hint)


@cases(DECODE)
def test_wrong_decode_bytes_is_refused_with_its_hint(answer, hint):
    refused("01.2", answer, hint)


@cases(SPLIT)
def test_wrong_split_is_refused_with_its_hint(answer, hint):
    refused("01.3", answer, hint)


def every_tenth(documents, length, end):
    order = [*range(0, len(documents), 10), *(i for i in range(len(documents)) if i % 10)]
    return split_documents(documents, length, end, order)


def same_draw_every_time(documents, length, end):
    order = list(range(len(documents)))
    random.Random(3).shuffle(order)
    return split_documents(documents, length, end, order)


def test_right_answers_of_several_styles_pass():
    assert check("01.1", merge_step).passed
    assert check("01.2", lambda ids, m: spelled(ids, m).decode(errors="replace")).passed
    for split in (every_tenth, same_draw_every_time):
        verdict = check("01.3", split)
        assert verdict.passed, verdict
