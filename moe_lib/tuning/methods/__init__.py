"""Parameter-efficient tuning: train a few numbers, leave the base as it is.

method = LoRA(rank=8, alpha=16)
run = finetune(head, Examples(encoded, 16), epochs=3, method=method)
run.attached.enabled = False      # the base, bit for bit
run.attached.save(folder)         # a small file
load_adapter(folder, the_same_base)  # attaches it again
"""

from moe_lib.tuning.methods.adalora import AdaLoRA
from moe_lib.tuning.methods.base import Attached, Method, attached_to
from moe_lib.tuning.methods.esft import ESFT
from moe_lib.tuning.methods.esft_selection import ExpertSelection, select_experts
from moe_lib.tuning.methods.houlsby import Houlsby
from moe_lib.tuning.methods.lora import LoRA
from moe_lib.tuning.methods.peft_export import export_peft
from moe_lib.tuning.methods.prefix import Prefix
from moe_lib.tuning.methods.registry import METHODS, count_trainable, load_adapter
from moe_lib.tuning.methods.subsets import AddedBias, BiasOnly, Full, HeadOnly, RouterOnly

__all__ = [
    "AdaLoRA",
    "AddedBias",
    "Attached",
    "BiasOnly",
    "ESFT",
    "ExpertSelection",
    "Full",
    "HeadOnly",
    "Houlsby",
    "LoRA",
    "METHODS",
    "Method",
    "Prefix",
    "RouterOnly",
    "attached_to",
    "count_trainable",
    "export_peft",
    "load_adapter",
    "select_experts",
]
