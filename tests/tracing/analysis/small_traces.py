"""Small traces for the tests of the analysis: one by hand, one with planted structure."""

import torch

from moe_lib.tracing import LayerTrace, RoutingTrace


def make_trace(experts, ids=None, real=None, domains=None, n_experts=4, index=1, **more):
    """experts (batch, sequence, k)"""
    experts = torch.as_tensor(experts)
    weights = torch.ones(experts.shape)
    layer = LayerTrace(
        "layers.1.feed_forward",
        index,
        n_experts,
        experts,
        weights,
        torch.zeros(*experts.shape[:2], n_experts),
        **more,
    )
    ids = torch.zeros(experts.shape[:2], dtype=torch.long) if ids is None else torch.as_tensor(ids)
    real = (
        torch.ones(experts.shape[:2], dtype=torch.bool)
        if real is None
        else torch.as_tensor(real).bool()
    )
    return RoutingTrace([layer], ids, real, domains)


# Two texts of three tokens, k = 2 of 4 experts; the last token of the second text is padding.
HAND = make_trace(
    [[[0, 1], [0, 2], [1, 0]], [[3, 0], [3, 2], [1, 1]]],
    ids=[[7, 7, 5], [7, 5, 0]],
    real=[[1, 1, 1], [1, 1, 0]],
    domains=("code", "art"),
)


def planted(n_documents=40, length=30, share=0.8, seed=0):
    """Two domains, k = 1: a token goes to the expert of its domain (0 or 1) with this share, else
    to 2 or 3."""
    g = torch.Generator().manual_seed(seed)
    domain = torch.arange(n_documents) % 2
    own = torch.rand(n_documents, length, generator=g) < share
    experts = torch.where(
        own, domain[:, None], torch.randint(2, 4, (n_documents, length), generator=g)
    )
    ids = torch.randint(0, 5, (n_documents, length), generator=g)
    return make_trace(experts[..., None], ids=ids, domains=tuple("ab"[i] for i in domain))
