"""Estimates of memory against what was measured, and what is refused, warned of and advised."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from cluster.machine import Machines, this_machine
from pipelines.experiment.models import ModelSettings
from pipelines.experiment.schema import Experiment
from pipelines.memory.fit import MemoryShortError, check_memory, judged, memory_advice, memory_table
from pipelines.memory.model_size import model_size
from pipelines.memory.roles import GB, RoleMemory, memory_of

HALF = {
    "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
    "intermediate_size": 4864, "vocab_size": 151936, "tie_word_embeddings": True,
}  # fmt: skip
ONE_AND_A_HALF = HALF | {
    "hidden_size": 1536, "num_hidden_layers": 28, "num_attention_heads": 12, "intermediate_size": 8960,
}  # fmt: skip


def write_model(folder: Path, config: dict[str, Any], values: int = 0) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if values:
        entry = {"dtype": "BF16", "shape": [values // 2, 2], "data_offsets": [0, 0]}
        header = json.dumps({"__metadata__": {}, "weight": entry}).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return str(folder)


def experiment(tmp_path: Path, **changes: Any) -> Experiment:
    """The pair of docs/performance.md on the CPU, with half a GiB of KV cache each."""
    source = {"source": "chain_arithmetic", "counts": {"known": 1}}
    engine = {"kv_cache_gib": 0.5, "max_model_len": 1024, "max_num_seqs": 64}
    settings = {
        "name": "pair",
        "models": {
            "student": {"path": write_model(tmp_path / "student", HALF, 494_032_768)},
            "teacher": {"path": write_model(tmp_path / "teacher", ONE_AND_A_HALF, 1_543_714_304)},
        },
        "data": {"train": source, "evaluation": [source]},
        "rollout": {"engine": engine},
        "teacher": {"engine": engine},
        "grpo": {"limits": {"max_new_tokens": 384}},
        "evaluation": {"limits": {"max_new_tokens": 384}},
        "learner": {"max_tokens_per_micro_batch": 1024},
        "cluster": {"device": "cpu"},
    }
    return Experiment.model_validate(settings | changes)


def roles_of(experiment: Experiment) -> dict[str, RoleMemory]:
    return {role.role: role for role in memory_of(experiment)}


def machine(total_gb: float, free_gb: float | None = None, gpu_gb: float | None = None) -> Machines:
    free = total_gb if free_gb is None else free_gb
    return Machines("this machine", total_gb * GB, total_gb * GB, free * GB, None if gpu_gb is None else gpu_gb * GB)


def test_the_estimate_of_the_real_pair_is_within_a_quarter_of_what_was_measured(tmp_path: Path) -> None:
    roles = roles_of(experiment(tmp_path))
    assert roles["teacher"].host_each == pytest.approx(5.7 * GB, rel=0.25)
    assert roles["rollout"].host_each == pytest.approx(3.8 * GB, rel=0.25)
    assert 0.75 * 8 * GB < roles["learner"].host_each < 1.25 * 11 * GB


def test_the_estimate_of_the_demo_is_within_a_quarter_of_what_was_measured(demo: Experiment) -> None:
    roles = roles_of(demo)
    assert roles["teacher"].host_each == pytest.approx(1.79 * GB, rel=0.25)
    assert roles["rollout"].host_each == pytest.approx(1.59 * GB, rel=0.25)
    assert roles["learner"].host_each == pytest.approx(0.89 * GB, rel=0.25)


@pytest.fixture
def demo() -> Experiment:
    from pipelines.experiment.loading import load

    return load(Path(__file__).parents[3] / "experiments" / "demo.yaml", [], Experiment)


def test_a_configuration_alone_says_the_number_of_parameters(tmp_path: Path) -> None:
    for name, config, parameters in (("a", HALF, 494_032_768), ("b", ONE_AND_A_HALF, 1_543_714_304)):
        size = model_size(ModelSettings(path=write_model(tmp_path / name, config)))
        assert size is not None and size.parameters == pytest.approx(parameters, rel=0.001)


def test_the_files_of_a_model_have_the_last_word(tmp_path: Path) -> None:
    size = model_size(ModelSettings(path=write_model(tmp_path / "model", HALF, 1000)))
    assert size is not None and size.parameters == 1000


@pytest.mark.parametrize("config", [None, {"n_embd": 64}, []])
def test_a_model_that_is_not_here_or_not_understood_is_not_guessed(tmp_path: Path, config: Any) -> None:
    path = "some/model-on-the-hub" if config is None else write_model(tmp_path / "odd", config)
    assert model_size(ModelSettings(path=path)) is None


def test_what_surely_does_not_fit_is_refused_with_table_and_keys(tmp_path: Path) -> None:
    with pytest.raises(MemoryShortError) as caught:
        check_memory(experiment(tmp_path), machine(12))
    said = str(caught.value)
    assert said.startswith("host memory: the run needs about 24.")
    assert "To need less: learner.max_tokens_per_micro_batch, learner.gradient_checkpointing=true" in said
    assert "dtype=bfloat16" not in said, "it is bfloat16 already"
    assert "teacher " in said and "weights 3.1" in said


def test_what_is_near_is_a_warning_and_what_fits_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    check_memory(experiment(tmp_path), machine(30, free_gb=24))
    (record,) = caplog.records
    assert "actors may be killed" in record.getMessage()
    caplog.clear()
    check_memory(experiment(tmp_path), machine(25.3, free_gb=15), parts=())
    assert caplog.records == []


def test_one_role_that_no_node_can_hold_is_refused_however_many_nodes_there_are(tmp_path: Path) -> None:
    nodes = Machines("the cluster's 20 nodes", 120 * GB, 6 * GB, 120 * GB)
    (line,), near = judged(experiment(tmp_path), memory_of(experiment(tmp_path)), nodes)
    assert line.startswith("host memory: learner needs about 12.") and near == []


def test_a_finished_training_needs_no_learner(tmp_path: Path) -> None:
    assert {role.role for role in memory_of(experiment(tmp_path), parts=())} == {
        "teacher",
        "rollout",
        "reward",
        "driver and Ray",
    }


def test_a_gpu_that_cannot_hold_the_weights_is_refused(tmp_path: Path) -> None:
    on_gpu = experiment(tmp_path, cluster={"device": "gpu"})
    refused, _ = judged(on_gpu, memory_of(on_gpu), machine(500, gpu_gb=3))
    assert any(line.startswith("GPU memory of teacher") and "gpu_memory_utilization" in line for line in refused)
    refused, near = judged(on_gpu, memory_of(on_gpu), machine(500, gpu_gb=85))
    assert (refused, near) == ([], [])


def test_receive_buffers_beside_a_full_reservation_are_a_warning(tmp_path: Path) -> None:
    full = {"max_model_len": 1024, "gpu_memory_utilization": 0.95}
    on_gpu = experiment(tmp_path, cluster={"device": "gpu"}, rollout={"engine": full})
    refused, near = judged(on_gpu, memory_of(on_gpu), machine(500, gpu_gb=25))
    assert refused == []
    assert any(line.startswith("GPU memory of rollout: its engine takes 0.95") for line in near)
    assert "weight transfer 1.2" in memory_table(on_gpu, memory_of(on_gpu), machine(500, gpu_gb=25))


def test_the_table_has_every_role_and_the_sum(tmp_path: Path) -> None:
    table = memory_table(
        experiment(tmp_path, rollout={"workers": 2}), memory_of(experiment(tmp_path)), machine(25.3, 17)
    )
    assert [line.split()[0] for line in table.splitlines()[1:7]] == [
        "teacher",
        "rollout",
        "reward",
        "learner",
        "object",
        "driver",
    ]
    assert "this machine" in table and "17.0 GB free now" in table


def test_a_role_has_advice_of_its_own(tmp_path: Path) -> None:
    assert "rollout.engine.kv_cache_gib" in memory_advice(experiment(tmp_path), "rollout")
    assert "teacher.engine.kv_cache_gib" in memory_advice(experiment(tmp_path), "teacher")


def test_this_machine_has_some_memory_and_no_more_free_than_in_all() -> None:
    machine = this_machine()
    assert 10**8 < machine.available <= machine.total == machine.largest
