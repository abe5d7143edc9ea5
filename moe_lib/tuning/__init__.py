"""Fine-tuning: encode a labelled set, put a head on a model, train, measure.

encoded = encode_texts(texts, labels, tokenizer, label_names=names)
head = SequenceClassifier(model, n_labels=len(names))
run = finetune(head, Examples(encoded, 16), epochs=3, validation=Examples(held_out, 32), patience=2)
predict(run.model, Examples(test, 32)).probabilities
"""

from moe_lib.tuning.encoding import Encoded, Examples, collate, encode_choices, encode_texts, encode_words
from moe_lib.tuning.finetune import FineTuned, finetune
from moe_lib.tuning.heads import (
    HeadOutput,
    MultipleChoice,
    SequenceClassifier,
    SpanExtractor,
    TaskHead,
    TokenClassifier,
)
from moe_lib.tuning.metrics import (
    accuracy,
    bleu,
    exact_match,
    expected_calibration_error,
    macro_f1,
    recall_at_k,
    rouge,
    span_f1,
)
from moe_lib.tuning.predicting import Predictions, measure, predict
from moe_lib.tuning.questions import encode_questions
from moe_lib.tuning.saving import fingerprint, load_head, save_head
from moe_lib.tuning.spans import Answer, Span, best_span, predict_answers

__all__ = [
    "Answer", "Encoded", "Examples", "FineTuned", "HeadOutput", "MultipleChoice", "Predictions", "SequenceClassifier",
    "Span", "SpanExtractor", "TaskHead", "TokenClassifier", "accuracy", "best_span", "bleu", "collate",
    "encode_choices", "encode_questions", "encode_texts", "encode_words", "exact_match", "expected_calibration_error",
    "finetune", "fingerprint", "load_head", "macro_f1", "measure", "predict", "predict_answers", "recall_at_k",
    "rouge", "save_head", "span_f1",
]  # fmt: skip
