"""The benchmark of generation at a tiny size: equal weights, equal tokens, every row saved, a false
peer found."""

import pytest
import torch

from benchmarks import generation, report, timing
from benchmarks.generation_cases import (
    CONFIGS,
    OFFICIAL,
    OURS,
    QUICK,
    SMALL,
    WAYS,
    halves,
    make_models,
)
from moe_lib import ModelConfig

LATENT_EXPERTS = QUICK["mini-v2"]
CASES = {
    "latent, experts": LATENT_EXPERTS,
    "dense": QUICK["dense, multi-head"],
    "grouped-query": ModelConfig(**SMALL, num_key_value_heads=2),
    "grouped-query, experts": ModelConfig(
        **SMALL, num_key_value_heads=1, n_routed_experts=4, norm_topk_prob=True
    ),
}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("config", CASES.values(), ids=CASES.keys())
@torch.no_grad()
def test_all_models_of_a_case_give_the_same_logits(config):
    models = make_models(config)
    assert list(models)[0] == OURS and len(models) == (
        1 + len(WAYS) if config.n_routed_experts else 2
    )
    ids = torch.randint(96, (2, 9), generator=torch.Generator().manual_seed(0))
    wanted = models.pop(OURS)(ids).logits
    for name, model in models.items():
        assert (model(ids).logits - wanted).abs().max() < 1e-4 * wanted.abs().max(), name


def test_each_peer_runs_its_own_way():
    models = make_models(LATENT_EXPERTS)
    for way in WAYS:
        assert models[f"{OFFICIAL} {way}"].config._experts_implementation == way


def test_rows_of_a_head_move_from_pairs_to_halves():
    rows = torch.arange(8)[:, None]  # two heads of four: pairs (0, 1), (2, 3) and (4, 5), (6, 7)
    assert halves(rows, 4).flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_a_competitor_that_writes_something_else_stops_the_run():
    models = make_models(LATENT_EXPERTS)
    peer = models[f"{OFFICIAL} eager"]
    with torch.no_grad():
        peer.model.layers[0].self_attn.o_proj.weight.mul_(-1)
    with pytest.raises(AssertionError, match="transformers eager writes other tokens than ours"):
        generation.measure("case", models, batch=2, prompt=4, new=8, seconds=0.0)


def test_the_cases_are_those_of_the_goal():
    assert (
        generation.REQUESTS == [(1, 16), (1, 128), (8, 16), (8, 128)]
        and generation.NEW_TOKENS == 64
    )
    mini = CONFIGS["mini-v2"]
    assert (mini.vocab_size, mini.hidden_size, mini.n_routed_experts, mini.num_experts_per_tok) == (
        6144,
        128,
        32,
        4,
    )
    latent = [
        config
        for config in CONFIGS.values()
        if config.attention == "mla" and config.n_routed_experts
    ]
    assert {config.n_routed_experts for config in latent} == {16, 32, 64}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    generation.main(["--quick", "--seconds", "0", "--threads", "1", "--out", str(folder)])
    (folder / "generation_cpu_quick.csv").rename(folder / "generation_cpu.csv")
    return folder


def test_rows_and_their_table(results):
    rows = timing.load(results / "generation_cpu.csv")
    assert [row["competitor"] for row in rows[:4]] == [OURS, *(f"{OFFICIAL} {way}" for way in WAYS)]
    assert [row["competitor"] for row in rows[-2:]] == [OURS, OFFICIAL]
    for row in rows:
        assert float(row["ratio_low"]) <= float(row["ratio_high"]) and int(row["rounds"]) >= 5
        assert float(row["ratio"]) == 1.0 or row["competitor"] != OURS
    fastest = min(float(row["ratio"]) for row in rows[1:4])
    table = report.generation_table(rows)
    assert f"| {fastest:.2f} |" in table and table.count("\n") == 7, (
        "a line for each of four requests"
    )
