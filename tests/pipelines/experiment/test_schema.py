"""The experiment schema: its files load, its checks say what is wrong, and its command line is light."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from actors.settings import SamplingSettings
from cluster.metrics.publisher import Publishing
from cluster.placement import table
from pipelines.__main__ import main
from pipelines.experiment.loading import ConfigError, load, resolved_yaml, with_defaults
from pipelines.experiment.models import ModelSettings
from pipelines.experiment.resume import MAY_CHANGE_ON_RESUME
from pipelines.experiment.schema import Experiment
from pipelines.experiment.stage_names import evaluated_steps
from pipelines.records.binding import bind, bind_steps
from pipelines.records.run_directory import RunDirectory, RunDirectoryError
from tests.pipelines.small import SMALL

REPOSITORY = Path(__file__).parents[3]
DEMO = REPOSITORY / "experiments" / "demo.yaml"
CHAIN = "data.warmup=[{source: chain_arithmetic"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def problems(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides, Experiment)
    return str(caught.value)


def test_the_demo_needs_one_actor_of_each_kind_and_no_gpu() -> None:
    experiment = load(DEMO, ["cluster.cpus_per_actor=0.25", "rollout.workers=1", "learner.ranks=1"], Experiment)
    assert [line.split() for line in table(experiment.bundles()).splitlines()] == [
        ["actor", "CPUs", "GPUs"],
        ["teacher", "0.25", "0"],
        ["rollout-0", "0.25", "0"],
        ["reward", "0.25", "0"],
        ["learner-0", "0.25", "0"],
        ["total", "1", "0"],
    ]


@pytest.mark.parametrize(("device", "gpus"), [("cpu", "0"), ("gpu", "1")])
def test_token_level_routing_takes_an_actor_of_its_own_if_it_is_asked_for(small: Path, device: str, gpus: str) -> None:
    asked, default = (
        load(small, [f"cluster.device={device}", *overrides], Experiment).bundles()
        for overrides in (["citer.enabled=true"], [])
    )
    assert [bundle.actor for bundle in asked if bundle not in default] == ["citer"]
    assert ["citer", "1", gpus] in [line.split() for line in table(asked).splitlines()]


def test_a_run_that_only_evaluates_reserves_no_learner(small: Path) -> None:
    bundles = load(small, ["warmup.enabled=false", "grpo.enabled=false"], Experiment).bundles()
    assert [bundle.actor for bundle in bundles] == ["teacher", "rollout-0", "reward"]


def test_thresholds_lie_between_0_and_1_and_differ(small: Path) -> None:
    assert "citer.thresholds" in problems(small, "citer.thresholds=[1.5]")
    assert "should be distinct" in problems(small, "citer.thresholds=[0.5, 0.5]")


def test_on_gpus_engines_take_as_many_as_they_are_spread_over_and_grading_none(small: Path) -> None:
    overrides = [
        "rollout.workers=2",
        "rollout.engine.tensor_parallel=2",
        "teacher.engine.tensor_parallel=4",
        "learner.ranks=2",
    ]
    gpus = {bundle.actor: bundle.gpus for bundle in load(small, overrides, Experiment).bundles()}
    assert gpus == {"teacher": 4, "rollout-0": 2, "rollout-1": 2, "reward": 0, "learner-0": 1, "learner-1": 1}


def test_a_run_reserves_no_place_for_workers_that_may_join(small: Path) -> None:
    joins = load(small, ["rollout.workers=3", "rollout.min_workers=1"], Experiment)
    assert [bundle.actor for bundle in joins.bundles()] == ["teacher", "rollout-0", "reward", "learner-0"]
    assert [(bundle.actor, bundle.gpus) for bundle in joins.later_workers()] == [("rollout-1", 1), ("rollout-2", 1)]
    assert joins.resources() == load(small, [], Experiment).resources()


def test_processes_may_reserve_parts_of_a_gpu(small: Path) -> None:
    overrides = [
        "cluster.gpus={teacher: 0.5, rollout: 0.4, citer: 0.25, learner: 0.75}",
        "teacher.engine.gpu_memory_utilization=0.5",
        "rollout.engine.gpu_memory_utilization=0.4",
        "citer.enabled=true",
    ]
    gpus = {bundle.actor: bundle.gpus for bundle in load(small, overrides, Experiment).bundles()}
    assert gpus == {"teacher": 0.5, "rollout-0": 0.4, "citer": 0.25, "reward": 0, "learner-0": 0.75}
    on_cpu = load(small, [*overrides, "cluster.device=cpu"], Experiment).bundles()
    assert {bundle.gpus for bundle in on_cpu} == {0}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["cluster.gpus.learner=0.5", "learner.ranks=2"], "cluster.gpus.learner (0.5) should be 1 for 2 learner ranks"),
        (["rollout.min_workers=2"], "rollout.min_workers (2) should be at most rollout.workers (1)"),
        (
            [
                "rollout.workers=2",
                "rollout.min_workers=1",
                "cluster.gpus.rollout=0.5",
                "rollout.engine.gpu_memory_utilization=0.4",
            ],
            "rollout.min_workers (1) should be empty with cluster.gpus.rollout (0.5) below 1",
        ),
        (
            ["cluster.gpus.rollout=0.5", "rollout.engine.tensor_parallel=2"],
            "cluster.gpus.rollout (0.5) should be 1: an engine over 2 GPUs",
        ),
        (
            ["cluster.gpus.teacher=0.5"],
            "teacher.engine.gpu_memory_utilization (0.9) should be at most cluster.gpus.teacher (0.5)",
        ),
        (["cluster.gpus.teacher=2"], "cluster.gpus.teacher = 2"),
        (["cluster.gpus.reward=0.5"], "cluster.gpus.reward = 0.5: unknown key"),
    ],
)
def test_parts_of_a_gpu_that_cannot_be_shared_are_refused(small: Path, overrides: list[str], message: str) -> None:
    assert message in problems(small, *overrides)


def test_a_run_is_written_under_its_name_unless_it_says_where(small: Path) -> None:
    assert load(small, [], Experiment).directory == Path("runs/small")
    assert load(small, ["run_dir=elsewhere"], Experiment).directory == Path("elsewhere")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("grpo.mini_batches=200", "mini_batches (200) should be at most prompts_per_step (128)"),
        ("grpo.extra_prompts=129", "extra_prompts (129) should be at most prompts_per_step (128)"),
        ("grpo={async_depth: 1, extra_prompts: 1, max_staleness: 1}", "max_staleness (1) should be at least 2"),
        ("grpo.async_depth=2", "grpo.async_depth = 2"),
        ("grpo.sampling.top_p=0.9", "sampling should have temperature > 0, top_p 1 and top_k -1"),
        ("grpo.sampling.top_k=5", "sampling should have temperature > 0, top_p 1 and top_k -1"),
        ("grpo.sampling.temperature=0", "sampling should have temperature > 0, top_p 1 and top_k -1"),
        (
            "rollout.engine.max_model_len=8192",
            "grpo.limits.max_new_tokens (8192) should be below rollout.engine.max_model_len (8192)",
        ),
        (
            "evaluation.limits.max_new_tokens=20000",
            "evaluation.limits.max_new_tokens (20000) should be below rollout.engine.max_model_len (16384)",
        ),
        (
            "teacher.engine.max_model_len=4096",
            "grpo.limits.max_new_tokens (8192) should be below teacher.engine.max_model_len (4096)",
        ),
        (
            "reward.overlong_tokens=8192",
            "reward.overlong_tokens (8192) should be below grpo.limits.max_new_tokens (8192)",
        ),
        ("run_dir=''", "run_dir = '': should not be empty"),
        ("share_dir=''", "share_dir = '': should not be empty"),
        ('run_dir="a\\0b"', "should have no NUL character"),
        (f"run_dir=runs/{'x' * 256}", "should have no part of more than 255 bytes"),
        (f"name={'x' * 201}", "should have at most 200 characters"),
        ("models.student.pretrain={}", "give either path or pretrain"),
        ("models.student={}", "give either path or pretrain"),
        (
            "warmup.commands=[2, 1]",
            "commands should be [first, last] with 0 <= first <= last <= 1000, not [2, 1]",
        ),
        ("warmup.digits=[0, 9]", "digits should be [first, last] with 1 <= first <= last <= 1000, not [0, 9]"),
        ("warmup.exponents=[-1, 1]", "exponents should be [first, last] with 0 <= first <= last <= 9, not [-1, 1]"),
        ("models.student={pretrain: {forms: {plain: 0}}}", "should have a share above 0"),
        ("models.student={pretrain: {mix: {}}}", "should have a share above 0"),
        ("models.student={pretrain: {skill: 1.5}}", "models.student.pretrain.skill = 1.5"),
        ("models.student={pretrain: {lengths: []}}", "models.student.pretrain.lengths"),
        ("grpo.group_size=1", "grpo.group_size = 1"),
        ("seed=-1", "seed = -1: should be greater than or equal to 0"),
        ("grpo.optimizer.betas=[0.9, 1]", "grpo.optimizer.betas.1 = 1: should be less than 1"),
        ("reward.missed_call=.nan", "reward.missed_call = nan: should be a finite number"),
        ("data.evaluation.0.samples=32", "data.evaluation.0.samples (32) should be 1 with greedy sampling"),
        ("filter.sampling.temperature=0", "filter.samples (10) should be 1 with greedy sampling"),
        ("run_dir=$HOME/x", "run_dir = '$HOME/x': variables are not expanded"),
        ("models.student.path=${HOME}/m", "variables are not expanded"),
        ("share_dir=~nobody-has-this-name/x", "the home folder that '~nobody-has-this-name' names is unknown"),
        ("name=../up", "name = '../up'"),
        ("data.evaluation=5", "data.evaluation = 5: should be a list"),
        ("data.evaluation=[]", "data.evaluation = []: give at least one source"),
        ("evaluation.base=[oracle]", "evaluation.base.0 = 'oracle': should be 'student', 'teacher', 'relay'"),
        ("evaluation.final=[relay, relay]", "each policy should be listed once, not ['relay', 'relay']"),
        ("evaluation.final=[random_placement, relay]", "list relay before it, not ['random_placement', 'relay']"),
        ("evaluation.warmup=[teacher]", "evaluation.warmup = ['teacher']: the teacher does not change in training"),
        ("evaluation.training=[student, teacher]", "list it in evaluation.base or evaluation.final"),
        ("evaluation.teacher={}", "give either path or pretrain"),
        (
            f"{CHAIN}, counts: {{known: -3}}}}]",
            "data.warmup.0.counts.known = -3: should be greater than or equal to 0",
        ),
        (
            f"{CHAIN}, counts: {{knwon: 3}}}}]",
            "unknown key; did you mean `data.warmup.0.counts.known`? keys here: known,",
        ),
        (
            f"{CHAIN}, counts: 5}}]",
            "data.warmup.0.counts = 5: should be a mapping whose keys are among known, teacher_known,",
        ),
        (f"{CHAIN}, counts: {{known: 3}}, lengths: []}}]", "data.warmup.0.lengths = []: should have at least 1 item"),
        ("warmup.commands=[1]", "warmup.commands = [1]: should have 2 items, not 1"),
        ("data.evaluation.0.sampls=3", "data.evaluation.0.sampls = 3: unknown key; did you mean"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(small: Path, override: str, message: str) -> None:
    overrides = [override]
    if override == "models.student={}":
        small.write_text(SMALL.replace("{path: a}", "{}"))
        overrides = []
    assert message in problems(small, *overrides)


def test_samples_that_are_drawn_may_be_many(small: Path) -> None:
    overrides = ["data.evaluation.0.samples=32", "data.evaluation.0.sampling={temperature: 0.7}"]
    assert load(small, overrides, Experiment).data.evaluation[0].samples == 32
    assert load(small, [overrides[0], "evaluation.sampling.temperature=1"], Experiment).evaluation.sampling == (
        SamplingSettings()
    )


def test_the_home_folder_may_be_written_short_in_every_path(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    found = load(
        small,
        [
            "run_dir=~/runs/x",
            "share_dir=~/shared",
            "models.student.path=~/m",
            "models.teacher.path=org/model",
            "data.evaluation.0.path=~/e.jsonl",
        ],
        Experiment,
    )
    assert (found.directory, found.share_dir) == (Path("/home/ada/runs/x"), Path("/home/ada/shared"))
    assert (found.models.student.path, found.models.teacher.path) == ("/home/ada/m", "org/model")
    assert found.models.cache_dir == Path("/home/ada/.cache/relayllm-ray")
    assert getattr(found.data.evaluation[0], "path") == Path("/home/ada/e.jsonl")  # noqa: B009


def test_a_run_may_be_kept_at_a_url_and_is_done_in_a_copy(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAYLLM_WORK_DIR", "/scratch")
    found = load(small, ["run_dir=s3://bucket/runs/demo/"], Experiment)
    assert found.place == found.url == "s3://bucket/runs/demo"
    assert found.directory.is_relative_to("/scratch/runs") and found.directory.name == "demo"
    small.write_text(resolved_yaml(found))
    assert load(small, [], Experiment) == found
    in_a_folder = load(small, ["run_dir=runs/demo"], Experiment)
    assert (in_a_folder.url, in_a_folder.place) == (None, "runs/demo")


def test_a_url_that_names_no_folder_and_urls_where_only_paths_work_are_refused(small: Path) -> None:
    assert "run_dir = 's3://bucket': should be a folder's URL, such as s3://" in problems(small, "run_dir=s3://bucket")
    for key in ("share_dir", "models.cache_dir", "teacher.cache", "data.evaluation.0.path"):
        assert f"{key} = " in (said := problems(small, f"{key}=s3://bucket/x")) and "only run_dir may be one" in said
    shared = problems(small, "run_dir=s3://bucket/x", "share_dir=/shared")
    assert "share_dir (/shared) should be empty with a run_dir that is a URL" in shared


def test_training_is_as_long_as_its_steps_or_its_epochs(small: Path) -> None:
    by_steps = load(small, ["grpo.steps=7"], Experiment)
    assert by_steps.with_steps_for(1000) == by_steps
    by_epochs = load(small, ["grpo.steps=null", "grpo.epochs=1.5", "grpo.prompts_per_step=8"], Experiment)
    assert by_epochs.grpo.steps is None
    assert [by_epochs.with_steps_for(problems).grpo.steps for problems in (80, 79, 1)] == [15, 14, 1]
    assert evaluated_steps(by_epochs) == range(0)
    part = load(small, ["grpo.steps=null", "grpo.epochs=0.29", "grpo.prompts_per_step=4"], Experiment)
    assert part.with_steps_for(400).grpo.steps == 29
    given = by_epochs.model_copy(update={"grpo": by_epochs.grpo.model_copy(update={"evaluate_every": 5})})
    assert list(evaluated_steps(given.with_steps_for(80))) == [5, 10]


def test_a_run_without_grpo_has_no_steps_of_it_and_no_evaluations_within(small: Path) -> None:
    without = load(small, ["grpo.enabled=false", "grpo.steps=7", "grpo.evaluate_every=2"], Experiment)
    assert (without.grpo_steps, list(evaluated_steps(without))) == (0, [])


def test_evaluations_within_an_epoch_are_shared_as_soon_as_its_steps_are_known(small: Path, tmp_path: Path) -> None:
    overrides = ["grpo.steps=null", "grpo.epochs=1", "grpo.prompts_per_step=8", "grpo.evaluate_every=5"]
    experiment = load(small, [*overrides, f"share_dir={tmp_path / 'shared'}"], Experiment)
    folders = []
    for name in ("a", "b"):
        directory = RunDirectory(tmp_path / name)
        bind(directory, experiment)
        bind_steps(directory, experiment, experiment.with_steps_for(80))
        folders.append((directory.path / "stages/evaluate-grpo-0005-relay").resolve())
    assert folders[0] == folders[1]
    assert folders[0].parent == tmp_path / "shared"


def test_steps_and_epochs_exclude_each_other(small: Path) -> None:
    assert "give steps (7) or epochs (2), and null for the other" in problems(small, "grpo.steps=7", "grpo.epochs=2")
    assert "give steps or epochs: both are null" in problems(small, "grpo.steps=null")


def test_a_model_comes_from_pretraining_or_a_path() -> None:
    assert ModelSettings.model_validate({"pretrain": {}}).path is None
    assert ModelSettings.model_validate({"path": "a"}).pretrain is None


def test_a_run_of_before_a_key_goes_on_unless_the_key_is_set(small: Path, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    earlier = load(small, [], Experiment).model_dump(mode="json")
    del earlier["share_dir"], earlier["evaluation"]["final"], earlier["evaluation"]["teacher"]
    directory.bind_experiment(json.dumps(earlier))

    directory.metrics.touch()

    def bind(*overrides: str) -> None:
        resolved = resolved_yaml(load(small, overrides, Experiment))
        directory.bind_experiment(resolved, MAY_CHANGE_ON_RESUME, lambda data: with_defaults(data, Experiment))

    bind()
    with pytest.raises(RunDirectoryError, match=r"evaluation\.final\.1: relay -> \(absent\)"):
        bind("evaluation.final=[student]")


def test_a_run_goes_on_with_more_workers_but_not_with_another_context(small: Path, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")

    def bind(*overrides: str) -> None:
        directory.bind_experiment(resolved_yaml(load(small, overrides, Experiment)), MAY_CHANGE_ON_RESUME)

    bind()
    directory.metrics.touch()
    bind("rollout.workers=2", "rollout.engine.max_num_seqs=3")
    with pytest.raises(RunDirectoryError, match=r"rollout\.engine\.max_model_len: 16384 -> 16383"):
        bind("rollout.engine.max_model_len=16383")


def test_what_the_schema_rejects_is_left_as_it_is() -> None:
    assert with_defaults({"nme": "a"}, Experiment) == {"nme": "a"}


def test_nothing_is_evaluated_after_a_warmup_that_there_is_not_unless_it_is_listed(small: Path) -> None:
    def evaluated(*overrides: str) -> list[str]:
        return [policy.value for policy in load(small, overrides, Experiment).evaluated_after_warmup()]

    assert evaluated() == ["student", "relay"]
    assert evaluated("warmup.enabled=false") == []
    assert evaluated("warmup.enabled=false", "evaluation.warmup=[relay]") == ["relay"]
    assert evaluated("evaluation.warmup=[]") == []


def test_the_final_evaluation_has_its_own_teacher_if_one_is_given(small: Path) -> None:
    assert load(small, [], Experiment).with_final_teacher().models.teacher.path == "b"
    experiment = load(small, ["evaluation.teacher.path=c"], Experiment)
    final = experiment.with_final_teacher()
    assert (experiment.models.teacher.path, final.models.teacher.path, final.models.student.path) == ("b", "c", "a")


def test_problems_are_filtered_only_where_something_is_trained_on_them(small: Path) -> None:
    nothing = ["warmup.enabled=false", "grpo.enabled=false"]
    assert load(small, [], Experiment).filters
    assert not load(small, nothing, Experiment).filters
    assert load(small, [*nothing, "citer.enabled=true"], Experiment).filters


def test_an_unknown_key_is_reported_with_the_nearest_one(small: Path) -> None:
    small.write_text(SMALL + "grpo: {prompt_per_step: 3}\n")
    message = problems(small)
    assert f"{small}:7: grpo.prompt_per_step" in message
    assert "prompts_per_step" in message.replace("grpo.prompt_per_step", "")


def test_an_override_that_is_none_is_reported(small: Path) -> None:
    assert "override: grpo.steps: should be key.sub=value" in problems(small, "grpo.steps")


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_dry_run_prints_what_loads_back_and_imports_nothing_heavy(tmp_path: Path) -> None:
    arguments = ["run", str(DEMO), "grpo.steps=7", "--dry-run"]
    code = (
        "import sys; from pipelines.__main__ import main; status = main(sys.argv[1:]);"
        "print('heavy:', {'torch', 'ray', 'vllm', 'transformers', 'deepspeed'} & sys.modules.keys(), file=sys.stderr);"
        "sys.exit(status)"
    )
    finished = run_python("-c", code, *arguments)
    assert finished.returncode == 0, finished.stderr
    assert "heavy: set()" in finished.stderr
    printed = tmp_path / "printed.yaml"
    printed.write_text(finished.stdout)
    assert load(printed, [], Experiment) == load(DEMO, ["grpo.steps=7"], Experiment)
    assert "learner-0" in finished.stdout


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.train={source: file, path: trian.jsonl, kind: own}", "data.train: trian.jsonl: no such file or folder"),
        ("models.student={path: ./studnet, pretrain: null}", "models.student.path = './studnet'"),
    ],
)
def test_a_dry_run_names_local_data_and_models_that_are_not_there(
    override: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(DEMO.resolve()), override, "--dry-run"]) == 2
    assert message in capsys.readouterr().err


def test_a_dry_run_says_which_models_it_takes_for_names_on_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(DEMO.resolve()), "models.student={path: studnet, pretrain: null}", "--dry-run"]) == 0
    assert "# models.student.path = 'studnet' is no folder here" in capsys.readouterr().out


def test_a_typo_on_the_command_line_ends_with_status_2_and_the_message() -> None:
    finished = run_python("-m", "pipelines", "run", str(DEMO), "grpo.stps=7", "--dry-run")
    assert finished.returncode == 2
    assert "override: grpo.stps" in finished.stderr
    assert "steps" in finished.stderr
    assert finished.stdout == ""


def test_the_schema_is_json_that_describes_every_block(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"].keys() == {"extends", *Experiment.model_fields}


def test_a_resolved_experiment_loads_back(small: Path, tmp_path: Path) -> None:
    experiment = load(small, ["warmup.commands=[1, 2]"], Experiment)
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(resolved_yaml(experiment))
    assert load(resolved, [], Experiment) == experiment


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["cluster.device=cpu", "learner.liger_kernels=true"], "learner.liger_kernels should be false"),
        (["cluster.device=cpu", "learner.offload_optimizer=true"], "the optimizer is on the host already"),
        (["learner.offload_optimizer=true", "learner.zero_stage=0"], "false with zero_stage 0"),
        (["learner.torch_compile=true", "learner.zero_stage=3"], "false with zero_stage 3"),
        (["learner.torch_compile=true", "learner.liger_kernels=true"], "both replace norms and MLPs"),
    ],
)
def test_what_cannot_speed_up_the_learner_is_refused(small: Path, overrides: list[str], message: str) -> None:
    assert message in problems(small, *overrides)


def test_settings_of_the_learners_speed_work_on_gpus(small: Path) -> None:
    load(small, ["learner.torch_compile=true", "learner.offload_optimizer=true"], Experiment)
    load(small, ["learner.liger_kernels=true", "learner.zero_stage=3"], Experiment)


def test_a_run_with_liger_kernels_stops_before_anything_starts_where_they_are_missing(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    monkeypatch.chdir(small.parent)
    assert main(["run", str(small), "learner.liger_kernels=true"]) == 2
    assert "pip install liger-kernel" in capsys.readouterr().err
    assert list(small.parent.iterdir()) == [small]


def test_metrics_name_run_and_actor_and_can_be_switched_off(small: Path) -> None:
    on, off = (load(small, overrides, Experiment) for overrides in ([], ["cluster.metrics_every_s=null"]))
    assert on.publishing("rollout-0") == Publishing(on.name, "rollout-0", every_s=5.0)
    assert off.publishing("rollout-0") is None
    assert "cluster.metrics_every_s" in problems(small, "cluster.metrics_every_s=30")  # Ray would drop the gauges
