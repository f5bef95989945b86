"""What a weight transfer asks of vLLM's workers, in which order."""

from types import SimpleNamespace
from typing import Any

from vllm.v1.engine.core_client import InprocClient

from actors.engines.live_weights import LiveWeights
from cluster.devices import WeightBackend
from cluster.transfer_actions import Begin, End, Join, Receive
from cluster.weight_transport import InFlight


class Engine:
    """In the place of vLLM's engine: remembers what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.engine_core = object.__new__(InprocClient)
        self.vllm_config = SimpleNamespace(parallel_config=SimpleNamespace(distributed_executor_backend="uni"))

    def collective_rpc(self, method: str, args: tuple[object, ...] = ()) -> None:
        self.asked.append((method, *args) if method == "join_transfer" else method)

    def reset_prefix_cache(self, reset_running_requests: bool) -> bool:
        self.asked.append("reset_prefix_cache")
        return True

    def set_weight_version(self, version: str) -> None:
        self.asked.append(version)


def test_a_transfer_is_joined_begun_received_and_ended_with_an_empty_prefix_cache() -> None:
    engine = Engine()
    weights = LiveWeights(engine)  # type: ignore[arg-type]
    for action in (
        Join(WeightBackend.NCCL, {"rank_offset": 1}),
        Begin(InFlight.FINISH),
        Receive({"names": ["a"]}),
        Receive({"names": ["b"]}),
        End(3),
    ):
        assert weights.version == 0
        weights.transfer(action)
    assert weights.version == 3
    assert engine.asked == [
        "0",
        ("join_transfer", "nccl", {"rank_offset": 1}),
        "start_weight_update",
        "receive_transfer",
        "receive_transfer",
        "finish_weight_update",
        "reset_prefix_cache",
        "3",
    ]
