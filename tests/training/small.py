import torch

from moe_lib import LanguageModel, ModelConfig


class RandomBatches:
    """Batches as a pure function of the step: a tiny repeating language, so that something can be
    learnt."""

    def __init__(self, rows=8, length=12, masked=False):
        self.rows, self.length, self.masked = rows, length, masked

    def at(self, step):
        generator = torch.Generator().manual_seed(step)
        start = torch.randint(0, 20, (self.rows, 1), generator=generator)
        input_ids = (start + 3 * torch.arange(self.length)) % 20
        labels = input_ids.clone()
        if self.masked:  # rows differ in how many tokens they predict, as masked batches do
            labels[torch.rand(labels.shape, generator=generator) < 0.6] = -100
            labels[:, 1] = input_ids[:, 1]
        return {"input_ids": input_ids, "labels": labels}


def make_model(seed=0, **changes):
    torch.manual_seed(seed)
    sizes = dict(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_shared_experts=1,
        moe_intermediate_size=8,
        max_position_embeddings=32,
    )
    return LanguageModel(ModelConfig(**{**sizes, **changes}))


def weights_of(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
