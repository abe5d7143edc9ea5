"""Wrong input of the metrics."""

from tests.wrong_input.table import COUNT, NAN, Entry

NO_LIST = [None, 3, "ab", {"a": 1}]
NOT_TEXTS = [[bad, "a"] for bad in (3, None, b"a", ["a"], "\ud83d")]
ANSWERS = [*NO_LIST, ["a", "b"], [["a"], "b"], [["a"], [3]], [["a"], [None]], [["a"], 3]]
CLASSES = dict(predicted=[0, 1], targets=[0, 1])
TEXTS = dict(predicted=["a", ""], answers=[["a", "b"], []])
NAMED = "moe_lib.tuning."

ENTRIES = [
    *(
        Entry(
            NAMED + name,
            lambda: dict(CLASSES),
            {"predicted": [*NO_LIST, [], [0]], "targets": [*NO_LIST, [], [0]]},
            {"targets": "targets"},
        )
        for name in ("accuracy", "macro_f1")
    ),
    *(
        Entry(
            NAMED + name,
            lambda: dict(TEXTS),
            {"predicted": [*NO_LIST, [], ["a"], *NOT_TEXTS], "answers": [*ANSWERS, [], [["a"]]]},
        )
        for name in ("exact_match", "span_f1")
    ),
    Entry(
        NAMED + "bleu",
        lambda: dict(predicted=["a b c d", "a"], references=[["a b c d"], ["a", "b"]]),
        {
            "predicted": [*NO_LIST, [], ["a"], *NOT_TEXTS],
            "references": [*NO_LIST, [], ["a"], ["a", 3], ["a", []], [["a"], [3]], ["a", None]]
            + [["a", "\udc00"]],
            "language": ["de", "", None, 3, ["en"]],
        },
    ),
    Entry(
        NAMED + "rouge",
        lambda: dict(predicted=["a b", "a"], references=["a b", "b"]),
        {
            "predicted": [*NO_LIST, [], ["a"], *NOT_TEXTS],
            "references": [*NO_LIST, [], ["a"], ["a", 3], [["a"], ["b"]], ["a", None]],
            "kinds": ["rouge1", (), ("rouge",), ("rouge0",), ("bleu",), (3,), None],
        },
    ),
    Entry(
        NAMED + "recall_at_k",
        lambda: dict(ranked=[["a", "b"]], relevant=[["a"]], k=1),
        {
            "ranked": [*NO_LIST, [], ["ab"], [3], [None]],
            "relevant": [*NO_LIST, ["ab"], [3], [None], [[]]],
            "k": COUNT,
        },
    ),
    Entry(
        NAMED + "expected_calibration_error",
        lambda: dict(probabilities=[[0.5, 0.5], [1, 0]], targets=[0, 1]),
        {
            "probabilities": [
                None,
                3,
                "ab",
                [],
                [0.5, 0.5],
                [["a", "b"], ["c", "d"]],
                [[0.5, 0.5], [1]],
                [[-1, 2], [1, 0]],
                [[NAN, 1], [1, 0]],
                [[0.5, 0.1], [1, 0]],
                [[0.5, 0.5]],
            ],
            "targets": [None, 3, "ab", [0], [0, 2], [0, -1], [0, 0.5], [0, "a"], [0, True]]
            + [[0, NAN]],
            "n_bins": COUNT,
        },
    ),
    Entry(
        NAMED + "metrics.normalised_words",
        lambda: dict(text="The end."),
        {"text": [None, 3, b"a", ["a"]]},
    ),
]
