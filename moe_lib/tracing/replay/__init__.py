"""Routing that was recorded elsewhere, forced on a model, and what that changes."""

from moe_lib.tracing.replay.comparing import LayerReplay, Replay, replay_routing
from moe_lib.tracing.replay.forcing import forced_routing

__all__ = ["LayerReplay", "Replay", "forced_routing", "replay_routing"]
