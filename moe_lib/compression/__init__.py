"""Making a trained model smaller or faster: fewer experts, fewer bits, drafts that are verified."""

from moe_lib.compression.drafts import early_exit_draft, fewer_experts_draft, shared_only_draft
from moe_lib.compression.expert_scores import (
    CRITERIA,
    ExpertScores,
    ablation_scores,
    expert_scores,
    random_scores,
)
from moe_lib.compression.gptq import gptq_weight, input_squares
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
from moe_lib.compression.quantising import METHODS, PARTS, QuantisedModel, quantise
from moe_lib.compression.rounding import QuantisedWeight, quantise_weight
from moe_lib.compression.same_experts import (
    Agreement,
    agreement,
    read_alone,
    read_cached,
    read_whole,
)
from moe_lib.compression.speculation import Speculated, speculate
from moe_lib.compression.worth import (
    MultiTokenModule,
    deepseek_v3_module,
    expected_tokens,
    speed_up,
    window_bytes,
)

__all__ = [
    "CRITERIA",
    "METHODS",
    "METRICS",
    "PARTS",
    "Agreement",
    "ExpertScores",
    "MergedExperts",
    "MultiTokenModule",
    "QuantisedModel",
    "QuantisedWeight",
    "Speculated",
    "ablation_scores",
    "agreement",
    "best_experts",
    "best_pairs",
    "deepseek_v3_module",
    "early_exit_draft",
    "expected_tokens",
    "expert_distances",
    "expert_scores",
    "fewer_experts_draft",
    "gptq_weight",
    "input_squares",
    "load_quantised",
    "merge_experts",
    "prune_experts",
    "quantise",
    "quantise_weight",
    "random_pairs",
    "random_scores",
    "read_alone",
    "read_cached",
    "read_whole",
    "save_quantised",
    "shared_only_draft",
    "speculate",
    "speed_up",
    "window_bytes",
]
