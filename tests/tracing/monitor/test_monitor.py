"""The monitor against the routing that a trace, or the model's own output, gives for the same
batches."""

import subprocess
import sys
import textwrap
import warnings

import pytest
import torch
from transformers import OlmoeConfig, OlmoeForCausalLM, Trainer, TrainerCallback, TrainingArguments

from moe_lib import LanguageModel, ModelConfig, RoutingMonitor, trace_routing
from moe_lib.model import load_entropy, max_violation
from moe_lib.tracing.traced_inputs import forward_inputs, text_reader
from tests.tracing.families import FAMILIES, IDS, build

E, K = 4, 2


def own(**changes) -> LanguageModel:
    torch.manual_seed(0)
    sizes = dict(vocab_size=60, n_routed_experts=E, num_experts_per_tok=K, num_hidden_layers=3)
    sizes |= dict(first_k_dense_replace=1, n_shared_experts=0)
    return LanguageModel(ModelConfig.preset("tiny", **sizes | changes)).train()


def olmoe() -> OlmoeForCausalLM:
    torch.manual_seed(0)
    config = OlmoeConfig(
        vocab_size=60,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_experts=E,
        num_experts_per_tok=K,
        pad_token_id=0,
    )
    return OlmoeForCausalLM(config).train()


def batches(n: int, rows: int = 3, length: int = 7) -> list[dict]:
    draw = torch.Generator().manual_seed(3)
    found = []
    for _ in range(n):
        ids = torch.randint(1, 60, (rows, length), generator=draw)
        mask = torch.ones_like(ids)
        mask[0, 4:] = 0
        found.append({"input_ids": ids, "attention_mask": mask, "labels": ids})
    return found


def run(model, given, monitor, parts: int = 1, rate: float = 0.0) -> None:
    optimiser = torch.optim.SGD(model.parameters(), lr=rate)
    with monitor:
        for batch in given:
            for rows in torch.arange(len(batch["input_ids"])).tensor_split(parts):
                model(**{name: part[rows] for name, part in batch.items()}).loss.backward()
            optimiser.step()
            optimiser.zero_grad()


@pytest.mark.parametrize("make", [own, olmoe])
@pytest.mark.parametrize("parts", [1, 3])
def test_loads_are_those_of_a_trace(make, parts):
    model, given = make(), batches(2)
    monitor = RoutingMonitor(model)
    run(model, given, monitor, parts)
    frame = monitor.frame()
    assert list(frame["step"].unique()) == [0, 1] and len(frame) == 2 * 2
    for step, batch in enumerate(given):
        trace = trace_routing(model, batch["input_ids"], batch["attention_mask"])
        for layer in trace.layers:
            load = trace.load(layer.index)
            assert torch.equal(monitor.loads(layer.index)[step], load)
            row = frame[(frame["step"] == step) & (frame["layer"] == layer.index)].iloc[0]
            assert row["max_violation"] == pytest.approx(max_violation(load))
            assert row["entropy"] == pytest.approx(load_entropy(load))
            assert row["choices"] == K * int(batch["attention_mask"].sum())
            assert row["dead_experts"] == int((load == 0).sum()) and row["dropped_share"] == 0
    assert (frame[frame["step"] == 0]["drift"] == 0).all()


def test_router_z_is_that_of_the_output():
    model, (batch,) = own(), batches(1)
    monitor = RoutingMonitor(model)
    run(model, [batch], monitor)
    routing = [r for r in model(**batch).routing if r is not None]
    real = batch["attention_mask"].flatten().bool()
    for row, record in zip(monitor.rows, routing, strict=True):
        expected = record.logits[real].logsumexp(-1).square().mean()
        assert row["router_z"] == pytest.approx(float(expected), rel=1e-5)


def test_drift_and_drops_by_hand():
    model = own(capacity_factor=0.5)
    monitor = RoutingMonitor(model)
    run(model, batches(4), monitor, rate=0.5)
    first, last = monitor.loads(1)[[0, -1]].double()
    expected = float((first / first.sum() - last / last.sum()).abs().sum() / 2)
    frame = monitor.frame()
    row = frame[(frame["step"] == 3) & (frame["layer"] == 1)].iloc[0]
    assert row["drift"] == pytest.approx(expected) and row["dropped_share"] > 0


def test_evaluation_is_not_counted_and_every_nth_step_is():
    model, given = olmoe(), batches(5)
    monitor = RoutingMonitor(model, every=2)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.0)
    with monitor:
        for batch in given:
            model(**batch).loss.backward()
            model.eval()
            with torch.no_grad():
                model(**given[0])
            model.train()
            optimiser.step()
    assert sorted(monitor.frame()["step"].unique()) == [0, 2, 4]
    assert set(monitor.frame()["choices"]) == {K * int(given[0]["attention_mask"].sum())}


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing_is_counted_once(reentrant):
    model, given = olmoe(), batches(2)
    plain = RoutingMonitor(model)
    run(model, given, plain)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()
    again = RoutingMonitor(model)
    run(model, given, again)
    assert torch.equal(plain.loads(0), again.loads(0)) and plain.loads(1).equal(again.loads(1))


def test_nothing_is_left_behind_and_another_optimiser_ends_no_step():
    model, other = own(), torch.nn.Linear(2, 2)
    monitor = RoutingMonitor(model)
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    with monitor:
        optimiser = torch.optim.SGD(other.parameters(), lr=0.1)
        model(**batches(1)[0]).loss.backward()
        optimiser.step()
        assert monitor.rows == []
        monitor.step()
        assert len(monitor.rows) == 2
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert hooks == [0] * len(hooks)
    with pytest.raises(ValueError, match="not started"):
        monitor.step()
    assert list(RoutingMonitor(model).frame().columns) == list(monitor.frame().columns)


def test_as_a_callback_of_the_trainer(tmp_path):
    model, numbers = olmoe(), []
    monitor = RoutingMonitor(model, log=lambda values, step: numbers.append((step, values)))
    assert isinstance(monitor, TrainerCallback)
    rows = [{name: part[i] for name, part in b.items()} for b in batches(4) for i in range(3)]
    arguments = TrainingArguments(
        tmp_path,
        max_steps=3,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        save_strategy="no",
    )
    Trainer(model, arguments, train_dataset=rows, callbacks=[monitor]).train()
    frame = monitor.frame()
    assert sorted(frame["step"].unique()) == [0, 1, 2] and set(frame["layer"]) == {0, 1}
    assert [step for step, _ in numbers] == [0, 1, 2]
    last = frame[(frame["step"] == 2) & (frame["layer"] == 1)].iloc[0]
    assert numbers[-1][1]["routing/layer_1/max_violation"] == last["max_violation"]
    assert monitor._watched is None


def test_a_collapse_is_said_once():
    model = own()
    with torch.no_grad():
        for layer in model.layers[1:]:
            layer.feed_forward.router.weight.zero_()  # the first experts win every tie
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run(model, batches(6), RoutingMonitor(model, collapse=0.6))
    words = [str(one.message) for one in said if "collapses" in str(one.message)]
    assert len(words) == 2 and "layer 1" in words[0] and "2 of 4 experts get nothing" in words[0]


def test_writers_of_others():
    class Writer:
        seen: list = []

        def add_scalar(self, name, value, step):
            self.seen.append((name, step))

    class Run:
        seen: list = []

        def log(self, numbers, step):
            self.seen.append((len(numbers), step))

    for writer in (Writer(), Run()):
        run(model := own(), batches(1), RoutingMonitor(model, log=writer))
        assert writer.seen
    assert ("routing/layer_2/entropy", 0) in Writer.seen and Run.seen == [(14, 0)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_the_loads_of_its_trace(family):
    model = build(family).eval()
    trace = trace_routing(model, IDS)
    reader = text_reader(model)
    monitor = RoutingMonitor(model)
    with monitor:
        reader(**forward_inputs(reader, IDS, None))
        monitor.step()
    assert len(monitor.rows) == len(trace.layers) + len(trace.attention_layers)
    if not trace.attention_layers:
        for layer in trace.layers:
            assert monitor.loads(layer.index)[0].equal(trace.load(layer.index))


def test_wrong_arguments():
    with pytest.raises(ValueError, match="model: got"):
        RoutingMonitor(torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match="log: got"):
        RoutingMonitor(own(), log=3)
    with pytest.raises(ValueError, match="every: got 0"):
        RoutingMonitor(own(), every=0)
    with pytest.raises(ValueError, match="layer: got 9"):
        monitor = RoutingMonitor(model := own())
        run(model, batches(1), monitor)
        monitor.loads(9)
    monitor = RoutingMonitor(own())
    with monitor, pytest.raises(ValueError, match="started twice"):
        monitor.on_train_begin()


def test_two_processes_are_added_up(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys, torch
            import torch.distributed as distributed
            sys.path.insert(0, sys.argv[1])
            from tests.tracing.monitor.test_monitor import batches, own, run
            from moe_lib import RoutingMonitor
            distributed.init_process_group("gloo")
            model, monitor = own(), None
            monitor = RoutingMonitor(model)
            run(model, [batches(2)[distributed.get_rank()]], monitor)
            if distributed.get_rank() == 0:
                print(monitor.loads(1).tolist())
            distributed.destroy_process_group()
            """
        )
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    root = str(__import__("pathlib").Path(__file__).parents[3])
    done = subprocess.run(
        [*command, str(script), root], capture_output=True, text=True, timeout=300
    )
    model, both = own(), 0
    for batch in batches(2):
        both = both + trace_routing(model, batch["input_ids"], batch["attention_mask"]).load(1)
    assert done.stdout.strip() == str([both.tolist()]), done.stderr[-2000:]
