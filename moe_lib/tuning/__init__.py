"""Fine-tuning: encode a labelled set, put a head on a model, train, measure.

encoded = encode_texts(texts, labels, tokenizer, label_names=names)
head = SequenceClassifier(model, n_labels=len(names))
run = finetune(head, Examples(encoded, 16), epochs=3, validation=Examples(held_out, 32), patience=2)
predict(run.model, Examples(test, 32)).probabilities
"""

from moe_lib.training.evaluation import measure
from moe_lib.tuning.comparison.cases import Case, TuningTask, measure_rows
from moe_lib.tuning.comparison.compare import compare
from moe_lib.tuning.comparison.results import Comparison, Interval, interval, load_comparison
from moe_lib.tuning.encoders import TransformersEncoder
from moe_lib.tuning.encoding import encode_choices, encode_texts, encode_words
from moe_lib.tuning.examples import Encoded, Examples, collate
from moe_lib.tuning.finetune import FineTuned, finetune
from moe_lib.tuning.heads import MultipleChoice, SequenceClassifier, TokenClassifier
from moe_lib.tuning.impact import domain_losses, expert_choices, pretraining_domains, routing_change
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
from moe_lib.tuning.predicting import Predictions, predict
from moe_lib.tuning.questions import encode_questions
from moe_lib.tuning.saving import fingerprint, load_head, save_head
from moe_lib.tuning.span_extractor import SpanExtractor
from moe_lib.tuning.spans import Answer, Span, best_span, predict_answers
from moe_lib.tuning.stratified_draw import draw_examples, examples_of
from moe_lib.tuning.task_head import HeadOutput, TaskHead

__all__ = [
    "Answer",
    "Case",
    "Comparison",
    "Encoded",
    "Examples",
    "FineTuned",
    "HeadOutput",
    "Interval",
    "MultipleChoice",
    "Predictions",
    "SequenceClassifier",
    "Span",
    "SpanExtractor",
    "TaskHead",
    "TokenClassifier",
    "TransformersEncoder",
    "TuningTask",
    "accuracy",
    "best_span",
    "bleu",
    "collate",
    "compare",
    "domain_losses",
    "draw_examples",
    "encode_choices",
    "encode_questions",
    "encode_texts",
    "encode_words",
    "exact_match",
    "examples_of",
    "expected_calibration_error",
    "expert_choices",
    "finetune",
    "fingerprint",
    "interval",
    "load_comparison",
    "load_head",
    "macro_f1",
    "measure",
    "measure_rows",
    "predict",
    "predict_answers",
    "pretraining_domains",
    "recall_at_k",
    "rouge",
    "routing_change",
    "save_head",
    "span_f1",
]
