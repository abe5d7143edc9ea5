"""Documents made up for the tests of readers and corpora."""

import json

ROWS = [
    {"id": n, "text": f"Story {n}: " + " ".join(f"w{n}x{i}" for i in range(12))} for n in range(60)
]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
