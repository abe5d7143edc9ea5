"""Trainings that two ranks and one process do alike."""

WITH_BIAS = dict(router="biased_topk", bias_update_speed=0.01)
DEVICES = dict(router="group_limited", n_group=2, topk_group=1)
DEVICES |= dict(communication_loss_alpha=0.02, device_loss_alpha=0.05)
CASES = {
    "data parallel": dict(sharded=False),
    "expert parallel": dict(sharded=True),
    "balance over the batch": dict(sharded=True, changes=dict(seq_aux=False, aux_loss_alpha=0.05)),
    "selection bias": dict(sharded=True, changes=WITH_BIAS),
    "rows that do not divide, few labels": dict(sharded=True, rows=5, masked=True),
    "fewer rows than ranks": dict(sharded=True, rows=1),
    "accumulation": dict(sharded=True, accumulation=3, masked=True),
    "router z-loss": dict(sharded=False, changes=dict(router_z_loss_alpha=0.01), accumulation=2),
    "limited to one device": dict(sharded=True, changes=DEVICES),
    "activations recomputed": dict(sharded=True, recomputed=True),
    "the rest spread by FSDP": dict(sharded=True, spread=True, changes=WITH_BIAS),
    "all spread by FSDP": dict(sharded=False, spread=True, accumulation=2),
}
