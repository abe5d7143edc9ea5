"""Small models that the valid calls of the table share."""

from functools import cache

import torch

from moe_lib import LanguageModel, ModelConfig

SIZES = dict(
    vocab_size=20,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=8,
    n_routed_experts=4,
    n_shared_experts=1,
    moe_intermediate_size=8,
    max_position_embeddings=32,
)
IDS = torch.randint(0, 20, (4, 6), generator=torch.Generator().manual_seed(0))
MASK = torch.ones(4, 6, dtype=torch.long)
# Attention masks that are none; the last is the additive kind (0 at real tokens, -1e9 at padding),
# which would be read inverted.
WRONG_MASK = ["mask", [[1]], MASK[0], MASK[:, :3], MASK * 2, -MASK, MASK * float("nan")]
WRONG_MASK += [torch.zeros(4, 6).masked_fill(MASK.bool().tril(), -1e9), MASK[:, :, None], 1, True]
WRONG_IDS = [None, "ids", [[1, 2]], IDS.float(), IDS.bool(), IDS[0], IDS[None], IDS[:0]]
WRONG_IDS += [IDS[:, :0], IDS - 100, IDS + 10**6, IDS.numpy(), 3]


def config(**changes) -> ModelConfig:
    return ModelConfig(**{**SIZES, **changes})


def new_model(**changes) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(config(**changes)).eval()


small = cache(new_model)  # not to be changed by a call


class Batches:
    """Batches of `IDS` for training."""

    def at(self, step):
        return {"input_ids": IDS, "labels": IDS}

    def __iter__(self):
        return iter([self.at(0)])
