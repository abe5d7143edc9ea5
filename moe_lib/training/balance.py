"""Load balance: the loss that training adds, and the numbers that say how even the load is.

The formulas live beside the router in `moe_lib.model.balance`, because a model's forward pass needs them.
"""

from moe_lib.model.balance import expert_balance_loss, load_entropy, max_violation

__all__ = ["expert_balance_loss", "load_entropy", "max_violation"]
