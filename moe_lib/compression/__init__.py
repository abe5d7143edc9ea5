"""Making a trained model smaller or faster: fewer experts, fewer bits, drafts that are verified."""

from moe_lib.compression.expert_scores import (
    CRITERIA,
    ExpertScores,
    ablation_scores,
    expert_scores,
    random_scores,
)
from moe_lib.compression.merging import (
    METRICS,
    MergedExperts,
    best_pairs,
    expert_distances,
    merge_experts,
    random_pairs,
)
from moe_lib.compression.pruning import best_experts, prune_experts
from moe_lib.compression.quantised_files import load_quantised, save_quantised
from moe_lib.compression.quantising import PARTS, QuantisedModel, quantise
from moe_lib.compression.rounding import METHODS, QuantisedWeight, quantise_weight

__all__ = [
    "CRITERIA",
    "METHODS",
    "METRICS",
    "PARTS",
    "ExpertScores",
    "MergedExperts",
    "QuantisedModel",
    "QuantisedWeight",
    "ablation_scores",
    "best_experts",
    "best_pairs",
    "expert_distances",
    "expert_scores",
    "load_quantised",
    "merge_experts",
    "prune_experts",
    "quantise",
    "quantise_weight",
    "random_pairs",
    "random_scores",
    "save_quantised",
]
