"""The board brings new weights to all student replicas, whenever they start, and survives its own restart."""

import asyncio
from pathlib import Path

import pytest

from actors.serving import weights_board
from actors.serving.errors import ApiError
from actors.serving.student_folder import student_folder
from actors.serving.weights_board import StudentWeights, WeightsBoard
from tests.model_folder import model_folder
from tests.serving.stack import STUDENT, TEACHER


async def follow(board: WeightsBoard, name: str, held: StudentWeights) -> StudentWeights:
    """Be a replica until there is a newer version, which it then holds."""
    while (newer := await board.newer(name, held)) is None:
        pass
    return newer


async def test_weights_are_published_when_all_replicas_hold_them() -> None:
    board = WeightsBoard(STUDENT, timeout_s=30)
    first = StudentWeights(0, STUDENT)
    replicas = [asyncio.create_task(follow(board, name, first)) for name in ("a", "b")]
    await asyncio.sleep(0)
    publishing = asyncio.create_task(board.publish(STUDENT))
    held = [await replica for replica in replicas]
    assert held == [StudentWeights(1, STUDENT)] * 2
    assert not publishing.done()
    asking = [asyncio.create_task(board.newer(name, held[0])) for name in ("a", "b")]
    assert await publishing == {"path": STUDENT, "policy_version": 1, "replicas": 2}
    assert await board.newest() == held[0]
    for task in asking:
        task.cancel()


async def test_a_replica_that_never_takes_them_is_named() -> None:
    board = WeightsBoard(STUDENT, timeout_s=0.05)
    slow = asyncio.create_task(board.newer("slow", StudentWeights(0, STUDENT)))
    await asyncio.sleep(0)
    with pytest.raises(ApiError, match="slow") as caught:
        await board.publish(STUDENT)
    assert caught.value.status == 504
    await slow


async def test_a_board_that_restarted_learns_the_newest_weights_from_a_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_board, "POLL_S", 0.01)
    board = WeightsBoard("first", timeout_s=1)
    assert await board.newer("a", StudentWeights(7, "newest")) is None
    assert await board.newest() == StudentWeights(7, "newest")
    assert await board.newer("b", StudentWeights(0, "first")) == StudentWeights(7, "newest")


async def test_weights_of_another_architecture_are_refused() -> None:
    with pytest.raises(ApiError, match="num_hidden_layers") as caught:
        await WeightsBoard(STUDENT, timeout_s=1).publish(TEACHER)
    assert (caught.value.status, caught.value.param) == (400, "path")


def test_the_final_student_of_a_run_is_found(tmp_path: Path) -> None:
    for stage in ("warmup", "grpo"):
        folder = tmp_path / "stages" / stage / "model"
        model_folder(folder)
        assert student_folder(tmp_path) == student_folder(folder) == folder


@pytest.mark.parametrize("files", [[], ["config.json"]])
def test_a_folder_without_weights_is_refused(tmp_path: Path, files: list[str]) -> None:
    for file in files:
        (tmp_path / file).write_text("{}")
    with pytest.raises(ValueError, match=str(tmp_path)):
        student_folder(tmp_path)
