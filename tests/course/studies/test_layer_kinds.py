"""Hash first, learned after: the blocks that look their experts up are the first with experts."""

import pytest

from moe_course.studies.layer_kinds import V4_ROUTER, hash_first
from moe_lib import LanguageModel, ModelConfig


def test_the_first_blocks_with_experts_get_a_table():
    config = ModelConfig.preset("mini", **V4_ROUTER)
    assert hash_first(config).mlp_layer_types == ("dense", "hash_moe", "moe", "moe")
    assert hash_first(config, 0).mlp_layer_types == ("dense", "moe", "moe", "moe")
    model = LanguageModel(hash_first(ModelConfig.preset("tiny", vocab_size=30, **V4_ROUTER)))
    assert [layer.feed_forward.router.by_token_id for layer in model.layers] == [True, False]
    with pytest.raises(ValueError, match="blocks: got 4; wants at most 3"):
        hash_first(config, 4)
    with pytest.raises(ValueError, match="blocks: got 1; wants at most 0"):
        hash_first(config.dense(), 1)
