"""The documentation names what exists: metrics, files, commands, tests, environment variables."""

import re
import shlex
from pathlib import Path

import pytest

from actors.serving.settings import ServerSettings
from pipelines.commands import relayllm
from pipelines.experiment.alarms import ALARMS, AlarmSettings
from pipelines.experiment.errors import below
from pipelines.experiment.loading import load
from pipelines.experiment.schema import Experiment
from pipelines.records.metrics import METRICS
from pipelines.study.plan import load_study
from pipelines.study.settings import StudySettings
from rewards.schemes import scheme_names

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
RUN_AS_A_WHOLE = {"tutorial.md", "how-to.md", "first-cluster.md"}
"""pages whose commands other tests run, on files that the pages make"""

LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?<![\w/])(?:python -m pipelines|relayllm) ([^`#\n]+)")
MAKE = re.compile(r"(?<![\w-])make ([a-z][a-z-]*)(?=`|\s+#|$)", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
SOURCE = re.compile(r"`((?:actors|cluster|pipelines|rewards)/[\w/]+\.py)`")
PLACEHOLDERS = re.compile(r"<\w+>")


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> list[str]:
    """The arguments of `relayllm` or `python -m pipelines` in all commands of the page that are written out in full."""
    joined = text_of(page).replace("\\\n", " ")
    return [found.strip() for found in COMMAND.findall(joined) if not PLACEHOLDERS.search(found)]


def test_every_metric_stands_with_its_unit_and_meaning() -> None:
    page = text_of(ROOT / "docs" / "metrics.md")
    rows = {
        f"| `{name}` | {metric.unit} | {metric.meaning.replace('|', chr(92) + '|')} |"
        for name, metric in METRICS.items()
    }
    assert rows - set(page.splitlines()) == set()


def test_no_metric_is_documented_that_does_not_exist() -> None:
    documented = re.findall(r"^\| `([a-z]+/\w+)` \|", text_of(ROOT / "docs" / "metrics.md"), re.MULTILINE)
    assert sorted(documented) == sorted(METRICS)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_relative_link_resolves(page: Path) -> None:
    broken = []
    for link in LINK.findall(text_of(page)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file) if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in RUN_AS_A_WHOLE], ids=page_name)
def test_every_command_is_accepted(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for command in commands(page):
        arguments = shlex.split(command.partition(">")[0])
        if arguments[0].startswith("-"):
            continue
        command_of = relayllm.commands[arguments[0]]
        options = command_of.make_context(arguments[0], arguments[1:]).params
        if arguments[0] == "run":
            load(options["experiment"], list(options["overrides"]), Experiment)
        if arguments[0] == "study":
            load_study(options["study"], list(options["overrides"]))


def test_the_readme_shows_every_command() -> None:
    shown = {command.split()[0] for command in commands(ROOT / "README.md")}
    assert shown - {"--help"} == set(relayllm.commands)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    assert set(MAKE.findall(text_of(page))) <= targets


def test_the_readme_shows_the_two_commands_to_start_with() -> None:
    assert {"demo", "test"} <= set(MAKE.findall(text_of(ROOT / "README.md")))


def test_the_layout_in_the_readme_names_every_part() -> None:
    layout = text_of(ROOT / "README.md").partition("## Layout")[2].partition("\n## ")[0]
    parts = [path.parent.name for package in ("pipelines", "actors") for path in (ROOT / package).glob("*/__init__.py")]
    modules = [path.name for path in (ROOT / "pipelines").glob("[a-z]*.py")]
    assert len(parts) > 20
    assert [name for name in (*(f"{part}/" for part in parts), *modules) if name not in layout] == []


def test_every_named_test_and_source_file_exists() -> None:
    page = text_of(ROOT / "docs" / "method.md")
    tests, sources = TEST.findall(page), SOURCE.findall(page)
    assert len(tests) >= 18 and len(sources) >= 13
    assert [file for file in sources if not (ROOT / file).is_file()] == []
    missing = [
        f"{file}::{name}"
        for file, name in tests
        if not (ROOT / file).is_file() or f"def {name}(" not in text_of(ROOT / file)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_named_setting_exists(page: Path) -> None:
    unknown = []
    schema = ServerSettings if page.name == "serving.md" else Experiment
    for code in re.findall(r"`([^`\n]+)`", text_of(page)):
        for key in re.findall(r"(?<![\w./])[a-z_]+(?:\.[a-z_]+)+(?![\w/])", code):
            names = key.split(".")
            if names[-1] == "jsonl":  # a file, as alarms.jsonl
                continue
            if names[0] not in schema.model_fields:
                continue
            types: list[object] = [schema]
            for name in names:
                types = below(types, name)
            if not types:
                unknown.append(key)
    assert unknown == []


def test_every_block_of_an_experiment_is_in_the_overview() -> None:
    page = text_of(ROOT / "docs" / "configuration.md")
    assert [name for name in Experiment.model_fields if f"`{name}`" not in page] == []


def test_every_reward_scheme_is_named() -> None:
    page = text_of(ROOT / "docs" / "configuration.md")
    assert [name for name in scheme_names() if f"`{name}`" not in page] == []


def test_the_page_shows_the_shipped_experiment_for_eight_gpus() -> None:
    page, shipped = text_of(ROOT / "docs" / "configuration.md"), ROOT / "experiments" / "gpu.yaml"
    (example,) = re.findall(r"<!-- checked: loads as an experiment -->\n```yaml\n(.*?)```", page, re.DOTALL)
    assert example == text_of(shipped)
    bundles = load(shipped, [], Experiment).bundles()
    assert sum(bundle.gpus for bundle in bundles) == 8


def test_the_experiment_for_gpus_fits_on_one_with_engines_and_learner_in_turn(tmp_path: Path) -> None:
    page = text_of(ROOT / "docs" / "configuration.md")
    examples = re.findall(
        r"<!-- checked: loads (?:as an|with the) experiment.*? -->\n```yaml\n(.*?)```", page, re.DOTALL
    )
    for name, example in zip(("base", "colocated"), examples, strict=True):
        (tmp_path / f"{name}.yaml").write_text(example, encoding="utf-8")
    with (tmp_path / "colocated.yaml").open("a") as file:
        file.write("extends: base.yaml\n")
    bundles = load(tmp_path / "colocated.yaml", [], Experiment).bundles()
    assert sum(bundle.gpus for bundle in bundles) == pytest.approx(1)


def test_the_study_is_valid_and_every_key_of_one_is_explained(tmp_path: Path) -> None:
    page = text_of(ROOT / "docs" / "studies.md")
    (example,) = re.findall(r"<!-- checked: loads as a study -->\n```yaml\n(.*?)```", page, re.DOTALL)
    for run in ("relay", "grpo"):
        (tmp_path / f"{run}.yaml").write_text(f"extends: {ROOT / 'experiments' / 'demo.yaml'}\nname: {run}\n")
    path = tmp_path / "study.yaml"
    path.write_text(example, encoding="utf-8")
    assert list(load_study(path).runs) == ["relay", "grpo"]
    assert [name for name in StudySettings.model_fields if f"`{name}`" not in page] == []


def test_every_environment_variable_of_the_code_is_in_the_table() -> None:
    read = re.compile(r"environ(?:\.get\(|\.setdefault\(|\[)\s*\"([A-Z_]+)\"|^\s+\"([A-Z][A-Z_]{3,})\": ", re.MULTILINE)
    page = text_of(ROOT / "docs" / "configuration.md")
    names = {
        "".join(found)
        for package in ("actors", "cluster", "pipelines", "rewards", "tests")
        for file in (ROOT / package).rglob("*.py")
        for found in read.findall(text_of(file))
    }
    assert {"RAY_ADDRESS", "WANDB_API_KEY", "DS_ACCELERATOR", "MASTER_PORT"} <= names
    assert sorted(name for name in names if f"`{name}`" not in page) == []


def test_every_alarm_has_a_paragraph_of_its_name_with_its_threshold() -> None:
    page = text_of(ROOT / "docs" / "troubleshooting.md")
    sections = dict(re.findall(r"^### (\w+)\n\n(.*?)(?=\n#|\Z)", page, re.MULTILINE | re.DOTALL))
    assert set(ALARMS) <= set(sections)
    for name, alarm in ALARMS.items():
        text = " ".join(sections[name].split())
        default = getattr(AlarmSettings(), name)
        assert f"`alarms.{name}` (default {default:g})" in text
        assert alarm.metric is None or f"`{alarm.metric}`" in text
        assert alarm.steps == 1 or f"for {alarm.steps} training steps in a row" in text
        assert "What to do: " in text
