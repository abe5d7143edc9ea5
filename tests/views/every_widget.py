"""One of every widget, small and made anew, and what it shows."""

import pytest
import torch

from moe_lib import LanguageModel, ModelConfig, RoutingTrace, explore, trace_routing
from moe_lib.tuning.tried_text import TriedText
from moe_lib.views.attention_view.widget import AttentionViewer
from moe_lib.views.balance_dashboard.widget import BalanceDashboard
from moe_lib.views.cache_calculator.widget import CacheCalculator
from moe_lib.views.compression import CompressionCase, CompressionComparator
from moe_lib.views.expert_cache import ExpertCachePlayer
from moe_lib.views.flying_tokens import FlyingTokens
from moe_lib.views.mask_playground.widget import MaskPlayground
from moe_lib.views.parameter_explorer.widget import ParameterExplorer
from moe_lib.views.phone_book.widget import PhoneBookRace
from moe_lib.views.router_playground.widget import RouterPlayground
from moe_lib.views.token_view import TokenView
from moe_lib.views.tryout.widget import TryOut
from moe_lib.views.tuning_comparator.widget import TuningComparator
from tests.training.small import RandomBatches, make_model
from tests.views.comparisons import made_up

NAN, HUGE, HALF = float("nan"), 10**400, "half \ud83d"
TEXT = "The list is sorted in place."
TRACE = RoutingTrace.from_arrays([[[0, 1]], [[1, 2]], [[0, 3]]], n_experts=6)
BIASED = make_model(router="biased_topk").config


@pytest.fixture(scope="module")
def masked():
    torch.manual_seed(0)
    return LanguageModel(ModelConfig.preset("tiny", causal=False)).eval()


@pytest.fixture
def make(model, masked, tokenizer):
    """{name: makes the widget}."""

    def answer(text):
        if text == "break":
            raise IndexError("deep inside")
        return TriedText("yes", (("yes", 0.7), ("no", 0.3)), None, "", (), "", {})

    return {
        "explorer": lambda: explore(model, tokenizer, TEXT),
        "mask": lambda: MaskPlayground(masked, tokenizer, TEXT),
        "router": RouterPlayground,
        "parameters": ParameterExplorer,
        "phone": lambda: PhoneBookRace(lambda facts, experts, chosen, report: None),
        "cache": CacheCalculator,
        "compression": lambda: CompressionComparator(
            [CompressionCase("pruning", name, 500, 0.1) for name in ("usage", "reap")], whole=1000
        ),
        "flying": lambda: FlyingTokens(trace_routing(model, torch.arange(8)[None])),
        "expert cache": lambda: ExpertCachePlayer(TRACE, num_slots=3),
        "tryout": lambda: TryOut(answer, examples=["one", "two"]),
        "comparator": lambda: TuningComparator({"intents": made_up(), "other": made_up("other")}),
        "dashboard": lambda: BalanceDashboard(BIASED, RandomBatches()),
        "tokens": lambda: TokenView(tokenizer, TEXT),
        "attention": lambda: AttentionViewer({"a": model}, tokenizer, TEXT),
    }


def shown(widget):
    """What a widget shows, without the words about the last message."""
    if hasattr(widget, "panel"):
        state = widget.panel.get_state()
        rest = [widget.text_area.value, widget.compare_area.value, widget.k, widget.off]
        return {name: state[name] for name in sorted(state) if name != "problem"}, rest
    hidden = ("problem", "asked", "status")
    return {name: value for name, value in widget.view.items() if name not in hidden}, []
