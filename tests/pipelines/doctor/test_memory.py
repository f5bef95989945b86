"""The memory that a run needs, against machines that have it and that do not."""

from cluster.machine import Machines
from pipelines.doctor.findings import Level
from pipelines.doctor.memory import memory
from tests.pipelines.doctor.conftest import demo

GB = 1e9


def test_a_machine_that_is_too_small_is_a_problem_with_the_keys_to_lower() -> None:
    (found,) = memory(demo(), Machines("this machine", 2 * GB, 2 * GB, 2 * GB))
    assert found.level is Level.PROBLEM and "this machine has 2.0 GB" in found.text
    assert found.remedy.startswith("To need less: ")


def test_a_machine_that_is_in_use_is_a_warning_and_a_free_one_is_fine() -> None:
    (found,) = memory(demo(), Machines("this machine", 64 * GB, 64 * GB, 3 * GB))
    assert found.level is Level.WARNING and "3.0 GB of it free" in found.text
    (found,) = memory(demo(), Machines("this machine", 64 * GB, 64 * GB, 60 * GB))
    assert found.level is Level.FINE and "of the 64.0 GB of this machine" in found.text


def test_a_model_of_unknown_size_is_said() -> None:
    hub = demo("models.teacher.pretrain=null", "models.teacher.path=Org/NotHere")
    (found,) = memory(hub, Machines("this machine", 64 * GB, 64 * GB, 60 * GB))
    assert "without the weights of teacher, whose size is not known here" in found.text
