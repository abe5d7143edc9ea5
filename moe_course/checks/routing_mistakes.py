"""What right and wrong answers to the exercises of chapter 05 come to."""

import torch


def in_groups(scores, k, group_scores, topk_group, outside=-torch.inf):
    """The k best experts of the best groups, by these group scores (tokens, n_group)."""
    best = group_scores.topk(topk_group, dim=-1).indices
    allowed = torch.zeros_like(group_scores, dtype=torch.bool).scatter(1, best, True)
    allowed = allowed.repeat_interleave(scores.shape[-1] // group_scores.shape[-1], dim=-1)
    return scores.masked_fill(~allowed, outside).topk(k, dim=-1).indices


def groups_of_size(scores, k, size, topk_group):
    """What comes out when n_group is taken as the size of a group; the right shape even where that
    cannot be done."""
    if scores.shape[-1] % size or topk_group > scores.shape[-1] // size or k > topk_group * size:
        return torch.full((len(scores), k), -1)
    return in_groups(scores, k, scores.unflatten(-1, (-1, size)).amax(-1), topk_group)


def pairs_of_best(scores, n_group):
    """The two best scores of each group together, (tokens, n_group)."""
    return scores.unflatten(-1, (n_group, -1)).topk(2, dim=-1).values.sum(-1)


def allowed_experts(group_scores, topk_group, n_experts):
    """Numbers of the allowed experts of each token, (tokens, topk_group · group size)."""
    size = n_experts // group_scores.shape[-1]
    first = group_scores.topk(topk_group, dim=-1).indices * size
    return (first[..., None] + torch.arange(size)).flatten(1)


def seated_by_token(experts, n_experts, room):
    """Every token seats all its choices before the next one comes."""
    one_by_one = experts.reshape(-1, 1)  # (tokens · k, 1)
    return seated(one_by_one, n_experts, room).view(experts.shape)


def seated(experts, n_experts, room):
    taken, kept = [0] * n_experts, torch.zeros_like(experts, dtype=torch.bool)
    for rank in range(experts.shape[1]):
        for token, expert in enumerate(experts[:, rank].tolist()):
            kept[token, rank] = taken[expert] < room
            taken[expert] += int(kept[token, rank])
    return kept


def spread(experts, weights, n_experts):
    """(tokens, k) each -> (tokens, E): each weight at its expert."""
    return torch.zeros(len(experts), n_experts).scatter_add(1, experts, weights.float())
