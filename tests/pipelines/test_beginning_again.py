"""After the loss of a learner rank the driver begins again, with pauses and a budget; after any other loss it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.supervision import ActorLostError
from pipelines import driver
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment

DEMO = Path(__file__).parents[2] / "experiments" / "demo.yaml"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the pauses that the driver makes, which take no time."""
    made: list[float] = []
    monkeypatch.setattr(driver.time, "sleep", made.append)
    return made


def experiment(budget: int) -> Experiment:
    return load(DEMO, [f"cluster.max_restarts={budget}"], Experiment)


def test_a_learner_that_is_lost_again_and_again_ends_the_run_with_its_cause(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lost(_: Experiment) -> Path:
        raise ActorLostError("learner-0 died: out of memory", {"learner"})

    monkeypatch.setattr(driver, "_drive", lost)
    with pytest.raises(ActorLostError, match="learner-0 died: out of memory"):
        driver.drive(experiment(7))
    assert pauses == [2, 4, 8, 16, 32, 60, 60]
    assert "in 2 s" in caplog.text and "7 of 7 times" in caplog.text


def test_a_loss_that_passes_does_not_end_the_run(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [ActorLostError("learner-1 died", {"learner"}), Path("report.html")]

    def next_outcome(_: Experiment) -> Path:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(driver, "_drive", next_outcome)
    assert driver.drive(experiment(3)) == Path("report.html") and pauses == [2]


@pytest.mark.parametrize("roles", [{"teacher"}, {"learner", "reward"}])
def test_the_loss_of_an_actor_that_ray_restarts_is_not_repeated(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch, roles: set[str]
) -> None:
    def lost(_: Experiment) -> Path:
        raise ActorLostError("the teacher died 4 times", roles)

    monkeypatch.setattr(driver, "_drive", lost)
    with pytest.raises(ActorLostError, match="died 4 times"):
        driver.drive(experiment(3))
    assert pauses == []
