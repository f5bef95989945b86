"""The rooms of the repository: which may import which, and that no two modules import each other."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]

ROOMS: dict[str, set[str]] = {
    "rewards": set(),
    "cluster": set(),
    "actors": {"rewards", "cluster"},
    # How numbers are worded.
    "pipelines.wording": set(),
    "pipelines.data": {"rewards", "cluster", "actors"},
    "pipelines.experiment": {"rewards", "cluster", "actors", "pipelines.wording", "pipelines.data"},
    "pipelines.memory": {"cluster", "actors", "pipelines.experiment"},
    "pipelines.records": {
        "rewards",
        "cluster",
        "actors",
        "pipelines.wording",
        "pipelines.data",
        "pipelines.experiment",
    },
    "pipelines.terminal": {"cluster", "pipelines.wording", "pipelines.experiment", "pipelines.records"},
    "pipelines.models": {
        "cluster",
        "actors",
        *(f"pipelines.{room}" for room in ("data", "experiment", "records", "terminal")),
    },
    "pipelines.rollout": {"rewards", "cluster", "actors", "pipelines.data", "pipelines.terminal"},
    # The actors of a run, and what each stage is given.
    "pipelines.system": {"cluster", "actors", *(f"pipelines.{room}" for room in ("experiment", "models", "rollout"))},
    "pipelines.run": {f"pipelines.{room}" for room in ("data", "experiment", "records", "models", "rollout", "system")},
    "pipelines.stages": {
        "cluster",
        "actors",
        *(
            f"pipelines.{room}"
            for room in ("wording", "data", "experiment", "memory", "records", "terminal", "rollout", "run")
        ),
    },
    "pipelines.analysis": {
        "cluster",
        "actors",
        *(f"pipelines.{room}" for room in ("wording", "data", "experiment", "records")),
    },
    "pipelines.report": {
        "cluster",
        *(f"pipelines.{room}" for room in ("wording", "data", "experiment", "records", "analysis")),
    },
    "pipelines.study": {
        "cluster",
        *(f"pipelines.{room}" for room in ("experiment", "records", "terminal", "analysis", "report")),
    },
    # Trials of one experiment, searched for the best values.
    "pipelines.sweep": {
        "cluster",
        "actors",
        *(
            f"pipelines.{room}"
            for room in (
                "wording",
                "experiment",
                "memory",
                "records",
                "terminal",
                "analysis",
                "report",
                "study",
                "jobs",
            )
        ),
    },
    # The trained student as a Hugging Face folder with a model card.
    "pipelines.export_card": {
        "cluster",
        *(f"pipelines.{room}" for room in ("wording", "data", "experiment", "records", "run", "report", "serving")),
    },
    "pipelines.driver": {
        "cluster",
        "actors",
        *(
            f"pipelines.{room}"
            for room in (
                "data",
                "experiment",
                "memory",
                "records",
                "terminal",
                "models",
                "system",
                "run",
                "stages",
                "report",
            )
        ),
    },
    # What a machine or a cluster lacks for a run.
    "pipelines.doctor": {
        "cluster",
        "actors",
        *(f"pipelines.{room}" for room in ("wording", "data", "experiment", "memory", "records", "terminal")),
    },
    # How long the steps of a run would take elsewhere, by simulation.
    "pipelines.planner": {"cluster", "pipelines.experiment", "pipelines.memory", "pipelines.records"},
    # Clients of a relay server, over HTTP alone.
    "pipelines.client": {"cluster", "pipelines.terminal"},
    "pipelines.chat": {"pipelines.wording", "pipelines.client"},
    "pipelines.generation": {
        "cluster",
        "actors",
        *(f"pipelines.{room}" for room in ("wording", "data", "terminal", "client")),
    },
    # Relay servers.
    "pipelines.serving": {
        "cluster",
        "actors",
        *(f"pipelines.{room}" for room in ("experiment", "models", "terminal")),
    },
    # Run directories while runs go on, on a live page and in a terminal.
    "pipelines.watch": {
        "actors",
        *(f"pipelines.{room}" for room in ("wording", "experiment", "records", "terminal", "report", "serving")),
    },
    # Runs as jobs of a cluster.
    "pipelines.jobs": {
        "cluster",
        *(f"pipelines.{room}" for room in ("wording", "data", "experiment", "records", "terminal", "models")),
    },
    # The command line.
    "pipelines.commands": {
        "cluster",
        "actors",
        *(
            f"pipelines.{room}"
            for room in (
                "data",
                "experiment",
                "memory",
                "records",
                "terminal",
                "report",
                "study",
                "sweep",
                "export_card",
                "driver",
                "chat",
                "generation",
                "jobs",
                "serving",
                "doctor",
                "watch",
                "planner",
            )
        ),
    },
    "pipelines.__main__": {
        "cluster",
        "actors",
        *(f"pipelines.{room}" for room in ("data", "experiment", "records", "terminal", "report", "commands")),
    },
}
"""room -> the rooms that it may import"""


def modules() -> dict[str, Path]:
    files = (
        file for package in ("rewards", "cluster", "actors", "pipelines") for file in (ROOT / package).rglob("*.py")
    )
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


MODULES = modules()


def imports(module: str) -> Iterator[str]:
    """Yield the modules of this repository that a module imports, those for types alone too."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            within = {f"{node.module}.{name.name}" for name in node.names}
            yield from within & MODULES.keys()
            if within - MODULES.keys():
                yield node.module


def room(module: str) -> str:
    package, *rest = module.split(".")
    return f"{package}.{rest[0]}" if package == "pipelines" and rest else package


def test_rooms_import_only_what_they_may() -> None:
    found = {
        f"{module} imports {other}"
        for module in MODULES
        for other in imports(module)
        if room(module) != room(other) and room(other) not in ROOMS.get(room(module), set())
    }
    assert not found


def test_what_rooms_may_import_has_no_circle() -> None:
    assert set(TopologicalSorter(ROOMS).static_order()) == set(ROOMS)


def test_every_arrow_between_rooms_is_used() -> None:
    used = {(room(module), room(other)) for module in MODULES for other in imports(module)}
    unused = {f"{a} -> {b}" for a, allowed in ROOMS.items() for b in allowed if (a, b) not in used}
    assert not unused


def test_no_modules_import_each_other_in_a_circle() -> None:
    TopologicalSorter({module: set(imports(module)) - {module} for module in MODULES}).prepare()


def test_the_architecture_page_has_the_rooms_and_their_arrows() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w/]+)` \| [^|]+ \| (.+) \|$", page, re.MULTILINE)
    shown = {name.replace("/", "."): set(re.findall(r"`(\w+)`", cell)) for name, cell in rows}
    assert shown == {room: {other.removeprefix("pipelines.") for other in allowed} for room, allowed in ROOMS.items()}


def test_no_file_outside_the_tests_is_longer_than_350_lines() -> None:
    files = [*MODULES.values(), *(ROOT / "benchmarks").rglob("*.py")]
    long = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert not {name: lines for name, lines in long.items() if lines > 350}
