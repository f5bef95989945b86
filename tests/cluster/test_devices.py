"""Devices: what differs between CPU and GPU processes."""

import pytest

from cluster.devices import Device, common_environment, engine_environment, learner_environment


@pytest.mark.parametrize(("device", "backend"), [(Device.CPU, "gloo"), (Device.GPU, "nccl")])
def test_each_device_has_its_collective_back_end(device: Device, backend: str) -> None:
    assert device.collective_backend == backend


@pytest.mark.parametrize("device", Device)
def test_every_process_has_bounded_threads_and_no_telemetry(device: Device) -> None:
    common = common_environment(threads=3)
    assert common["OMP_NUM_THREADS"] == "3"
    assert common["VLLM_NO_USAGE_STATS"] == "1"
    for environment in (engine_environment(device, 3), learner_environment(device, 3)):
        assert common.items() <= environment.items()


def test_a_cpu_engine_stays_in_its_process_and_sees_no_gpu() -> None:
    environment = engine_environment(Device.CPU, 1)
    assert environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert environment["CUDA_VISIBLE_DEVICES"] == ""


def test_a_gpu_engine_has_a_process_of_its_own_and_keeps_the_gpus_that_ray_gave_it() -> None:
    environment = engine_environment(Device.GPU, 1)
    assert environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "1"
    assert "CUDA_VISIBLE_DEVICES" not in environment


def test_only_a_cpu_learner_hides_the_gpus() -> None:
    assert learner_environment(Device.CPU, 1)["DS_ACCELERATOR"] == "cpu"
    assert learner_environment(Device.CPU, 1)["CUDA_VISIBLE_DEVICES"] == ""
    assert not {"DS_ACCELERATOR", "CUDA_VISIBLE_DEVICES"} & learner_environment(Device.GPU, 1).keys()
