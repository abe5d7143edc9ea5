"""What makes DeepSeek-V2 in transformers what it is: each done the other way must break parity,
visibly.

The sizes are relative to the largest logit, as the tolerance of the parity tests (1e-5) is.
"""

import pytest
import torch

from moe_lib.interop import from_transformers
from moe_lib.model import GroupLimitedRouter, Router, TopKRouter, latent_attention, rotary
from moe_lib.model.routers import topk
from tests.interop.official import CONFIGS, ids, make_official, relative_error

pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")


def half_split(x, angles, magnitude=1.0):
    """Llama's turn: number i with number i + d/2 instead of its neighbour."""
    halves = torch.cat((torch.arange(0, x.shape[-1], 2), torch.arange(1, x.shape[-1], 2)))
    back = halves.argsort()
    return rotary.rotate(x[..., back], angles, magnitude)[..., halves]


def sum_of_top_2(self, scores, forbidden):
    """V3's score of a group: its two best experts together."""
    groups = scores.unflatten(-1, (self.n_group, -1)).topk(2, dim=-1).values.sum(-1)
    return TopKRouter.select(
        self, scores, topk.outside_best_groups(groups, self.topk_group, scores)
    )


def no_groups(self, scores, forbidden):
    return TopKRouter.select(self, scores, forbidden)


def normalised(self, logits, mask=None):
    routing = original_route(self, logits, mask)
    return self.routing(
        routing.experts,
        routing.weights / routing.weights.sum(-1, keepdim=True),
        routing.scores,
        routing.logits,
    )


def bfloat16_logits(self, x):
    return torch.nn.functional.linear(x.bfloat16(), self.weight.bfloat16()).float()


def unscaled(self, *given, **options):
    routing = original_routing(self, *given, **options)
    return type(routing)(
        **{**vars(routing), "weights": routing.weights / self.routed_scaling_factor}
    )


original_route, original_routing = TopKRouter.route, Router.routing
mscale = rotary.yarn_mscale
# what is done wrong, the configuration that shows it, where, instead, and how much it must matter
# at least
MISTAKES = {
    "rotary halves instead of neighbours": ("base", latent_attention, "rotate", half_split, 0.3),
    "latent norms with rms_norm_eps": ("eps", latent_attention, "LATENT_NORM_EPS", 1e-2, 0.01),
    "no softmax scale": ("yarn, even", latent_attention, "softmax_factor", lambda s: 1.0, 0.15),
    "softmax scale not squared": (
        "yarn, even",
        latent_attention,
        "softmax_factor",
        lambda s: mscale(s["factor"], s["mscale_all_dim"]),
        0.1,
    ),
    "no ratio of the mscales": (
        "yarn, uneven",
        latent_attention,
        "rotary_magnitude",
        lambda s: 1.0,
        0.1,
    ),
    "speeds without yarn": (
        "yarn, even",
        rotary,
        "slowed_share",
        lambda d, *_: torch.zeros(d // 2),
        0.3,
    ),
    "every speed divided": (
        "yarn, even",
        rotary,
        "slowed_share",
        lambda d, *_: torch.ones(d // 2),
        0.3,
    ),
    "weights divided by their sum": ("base", TopKRouter, "route", normalised, 0.1),
    "routed_scaling_factor forgotten": ("groups", Router, "routing", unscaled, 0.3),
    "groups scored as in V3": ("groups", GroupLimitedRouter, "select", sum_of_top_2, 0.3),
    "groups forgotten": ("groups", GroupLimitedRouter, "select", no_groups, 0.3),
    "router in bfloat16": ("base", Router, "logits", bfloat16_logits, 0.01),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_done_wrong_it_breaks_parity(mistake, monkeypatch):
    name, where, what, instead, at_least = MISTAKES[mistake]
    official = make_official(name)
    assert relative_error(from_transformers(official), official).max() < 1e-5
    monkeypatch.setattr(where, what, instead)
    error = relative_error(from_transformers(official), official)
    assert error.max() > at_least
    if where is latent_attention and "scale" in mistake:
        assert error[0] < 1e-5 < error[1:8].max(), (
            "one key takes all the attention: position 0 shows nothing"
        )


@pytest.mark.parametrize(
    "name",
    [
        "attention biases",
        "attention biases, no query rank",
        "mlp biases",
        "mlp biases, no shared experts",
    ],
)
def test_biases_stand_where_transformers_has_them_and_matter(name):
    official = make_official(name)
    ours = from_transformers(official)
    kinds = {
        key.split(".", 2)[2].removesuffix(".bias")
        for key in ours.state_dict()
        if key.endswith("bias")
    }
    attention, no_rank = "attention" in name, "no query rank" in name
    query = set() if no_rank else {"attention.q_down_proj"}
    mlp = {
        f"feed_forward.{part}{kind}_proj"
        for part in ("", "shared.")
        for kind in ("gate", "up", "down")
    }
    assert kinds == (query | {"attention.kv_down_proj", "attention.o_proj"} if attention else mlp)
    for kind in kinds:
        changed = from_transformers(official)
        with torch.no_grad():
            for key, parameter in changed.named_parameters():
                if key.endswith(f"{kind}.bias"):
                    parameter.zero_()
        empty = "shared" in kind and "no shared" in name and "down" not in kind
        assert empty or relative_error(changed, official).max() > 1e-3, kind


def test_no_configuration_passes_by_being_degenerate():
    """The parity tests would prove little if routing were all alike or attention all even."""
    official = make_official("everything")
    ours = from_transformers(official)
    with torch.no_grad():
        output = ours(ids())
    for routing in output.routing:
        assert (routing.load() > 0).all() and routing.weights.std() > 0.05
    shuffled = ids()[
        :, torch.randperm(39, generator=torch.Generator().manual_seed(0)).tolist() + [39]
    ]
    with torch.no_grad():
        moved = (ours(shuffled).logits[:, -1] - output.logits[:, -1]).abs().max()
    assert moved > 0.01 * output.logits.abs().max(), "the order of the context must matter"
    assert len(CONFIGS) >= 25
