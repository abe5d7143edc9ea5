"""What the mask playground shows, in plain sentences."""

from math import exp, log

from moe_lib.tracing.masked_words import MaskedPrediction
from moe_lib.views.kit.finite import all_finite
from moe_lib.views.kit.wording import apart, count

NO_TEXT = "There is no text yet. Type some, then press its words to mask them."
NO_MASK = "No word is masked: press one to hide it from the model."


def is_lost(prediction: MaskedPrediction) -> bool:
    """Whether the model gives NaN or infinity at this position: then nothing can be drawn."""
    return not all_finite([*prediction.probabilities, prediction.loss])


def masked_words(
    n_masked: int, predictions: list[MaskedPrediction], loss: float, vocabulary: int
) -> list[str]:
    """Sentences about the predictions at the masked positions, of `n_masked` words."""
    known = [one for one in predictions if not is_lost(one)]
    right = sum(one.true_rank == 1 for one in known)
    lost = len(predictions) - len(known)
    n_tokens = count(len(predictions), "token")
    said = f"{count(n_masked, 'word')} masked, {n_tokens}"
    if lost:
        return [
            f"{said}. The model gives no numbers (NaN or infinity) at {lost} of them, so there is "
            "no loss.",
            *map(_prediction_words, known[:4]),
        ]
    return [
        f"{said}; the model's first choice is right at {right} of {len(known)}.",
        *map(_prediction_words, known[:4]),
        f"Loss, the mean over the masked positions: {loss:.2f} nats, as if the true token had "
        f"probability {exp(-loss):.2g}. Guessing blindly among all {vocabulary} tokens gives "
        f"{log(vocabulary):.2f} nats.",
    ]


def _prediction_words(p: MaskedPrediction) -> str:
    part = f" ({p.part})" if p.part else ""
    first = f"“{apart(p.labels[0])}” with {100 * p.probabilities[0]:.1f} %"
    if p.true_rank == 1:
        return f"Word {p.word}{part}: first choice {first}, right."
    return (
        f"Word {p.word}{part}: first choice {first}; the true “{apart(p.true_label)}” is number "
        f"{p.true_rank}."
    )
