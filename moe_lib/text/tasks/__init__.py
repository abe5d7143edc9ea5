"""Labelled sets: the course's six, and public ones mapped to the same features.

tasks = load_task("support_intent")                  # a DatasetDict: "train", "validation", "test"
tasks["train"].features["intent"].names              # the 13 labels
load_products()                                      # what the requests of "catalogue" ask for
load_task("public:squad_v2", path="train-v2.0.json") # the features of "qa_spans"
"""

from moe_lib.text.tasks.load import load_products, load_second_labels, load_task, task_names
from moe_lib.text.tasks.public import public_names

__all__ = ["load_products", "load_second_labels", "load_task", "public_names", "task_names"]
