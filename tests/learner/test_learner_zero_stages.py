"""ZeRO 0-3 on one and two ranks take the same optimizer steps and report the same metrics."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from actors.settings import OptimizerSettings
from actors.trajectory import TrajectoryBatch
from cluster.ports import free_port
from tests.learner.states import read_state

WORKER = Path(__file__).with_name("zero_stages_worker.py")
ROOT = WORKER.parents[2]


def run_ranks(ranks: int, model: Path, data: Path, out: Path) -> Path:
    out.mkdir()
    port = str(free_port())
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    processes = [
        subprocess.Popen(
            [sys.executable, WORKER, str(rank), str(ranks), port, model, data, out],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks)
    ]
    try:
        outputs = [process.communicate(timeout=200)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), "\n".join(outputs)[-4000:]
    return out


@pytest.fixture(scope="module")
def results(model_folder: Path, tmp_path_factory: pytest.TempPathFactory, trajectories_file: Path) -> dict[int, Path]:
    base = tmp_path_factory.mktemp("stages")
    return {ranks: run_ranks(ranks, model_folder, trajectories_file, base / str(ranks)) for ranks in (1, 2)}


@pytest.fixture(scope="module")
def trajectories_file(tmp_path_factory: pytest.TempPathFactory, trajectories: TrajectoryBatch) -> Path:
    path = tmp_path_factory.mktemp("data") / "trajectories.pickle"
    path.write_bytes(pickle.dumps(trajectories))
    return path


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("stage", range(4))
def test_the_stages_and_ranks_agree_on_weights_and_metrics(results, ranks, stage):
    expected = np.load(results[1] / "stage-0.npz")
    actual = np.load(results[ranks] / f"stage-{stage}.npz")
    assert set(actual) == set(expected)
    for name in expected:
        np.testing.assert_allclose(actual[name], expected[name], atol=2e-5, rtol=2e-4, err_msg=name)


def test_the_steps_moved_the_weights(results, model_folder):
    from safetensors.numpy import load_file

    before, after = load_file(model_folder / "model.safetensors"), np.load(results[2] / "stage-3.npz")
    assert all(np.abs(after[name] - before[name]).max() > 1e-3 for name in before)


@pytest.mark.parametrize("stage", range(4))
def test_two_ranks_export_the_weights_they_hold(results, stage):
    from safetensors.numpy import load_file

    exported = load_file(results[2] / f"export-{stage}" / "model.safetensors")
    held = np.load(results[2] / f"stage-{stage}.npz")
    assert exported
    for name, tensor in exported.items():
        np.testing.assert_array_equal(tensor, held[name])


@pytest.mark.parametrize("stage", range(4))
def test_two_ranks_load_the_state_of_one_rank_and_another_stage(results, stage):
    expected, found = read_state(results[1] / f"state-{stage}"), read_state(results[2] / f"state-of-one-{stage}")
    assert expected.keys() == found.keys() and len(expected) > 3
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("stage", range(4))
def test_one_rank_loads_the_state_of_two_ranks_and_another_stage(results, make_trainer, model_folder, tmp_path, stage):
    trainer = make_trainer(zero_stage=3 - stage)
    trainer.load(str(model_folder), OptimizerSettings(), 10)
    trainer.load_state(results[2] / f"state-{stage}")
    trainer.save_state(tmp_path / "state")
    expected, found = read_state(results[2] / f"state-{stage}"), read_state(tmp_path / "state")
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
