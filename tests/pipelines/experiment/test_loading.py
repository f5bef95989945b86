"""Experiment files: layers, overrides, and errors that say what would be right."""

import json
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from actors.settings import GrpoLossSettings, OptimizerSettings, RelayLimits, SamplingSettings
from cluster.settings import Settings
from pipelines.experiment.loading import ConfigError, json_schema, load, resolved_yaml


class FileData(Settings):
    kind: Literal["file"] = "file"
    path: str
    limit: int | None = None


class MadeData(Settings):
    kind: Literal["made"] = "made"
    count: int = Field(gt=0)


Data = Annotated[FileData | MadeData, Field(discriminator="kind")]


class Example(Settings):
    name: str = "example"
    steps: int | Literal["all"] = "all"
    optimizer: OptimizerSettings = OptimizerSettings()
    relay: RelayLimits = RelayLimits()
    data: Data = MadeData(count=3)
    sets: list[Data] = []
    weights: dict[str, float] = {}
    tags: tuple[str, ...] = ()
    note: str | None = None
    whole: bool = False
    depth: Literal[0, 1] = 0

    @model_validator(mode="after")
    def _name_is_not_reserved(self) -> "Example":
        if self.name == "latest":
            raise ValueError("`name` should not be the reserved word latest")
        return self


def write(folder: Path, text: str, name: str = "experiment.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path, *overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides, Example)
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return caught.value.problems


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load(write(tmp_path, ""), [], Example) == Example()


def test_scientific_notation_without_a_point_is_a_number(tmp_path: Path) -> None:
    path = write(tmp_path, "optimizer: {lr: 1e-6, betas: [9e-1, 0e0]}\nweights: {a: 2e3}")
    experiment = load(path, ["optimizer.eps=1e-9"], Example)
    assert experiment.optimizer == OptimizerSettings(lr=1e-6, betas=(0.9, 0.0), eps=1e-9)
    assert experiment.weights == {"a": 2000.0}


@pytest.mark.parametrize(
    ("written", "meant"),
    [("010", 10), ("0o10", 8), ("0x10", 16), ("-3", -3), ("1e3", 1000), ("1.0", 1), ("+7", 7)],
)
def test_an_integer_is_what_yaml_1_2_makes_of_it_in_files_and_overrides(
    tmp_path: Path, written: str, meant: int
) -> None:
    assert load(write(tmp_path, f"steps: {written}"), [], Example).steps == meant
    assert load(write(tmp_path, ""), [f"steps={written}"], Example).steps == meant


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [
        ("relay.max_calls", "true", "true: should be an integer"),
        ("relay.max_calls", "'7'", "'7': should be an integer"),
        ("relay.max_calls", "1:30", "'1:30': should be an integer"),
        ("relay.max_calls", "1_000", "'1_000': should be an integer"),
        ("relay.max_calls", "1.5", "1.5: should be an integer"),
        ("relay.max_calls", "inf", "'inf': should be an integer"),
        ("optimizer.lr", "true", "true: should be a number"),
        ("optimizer.lr", "'1e-6'", "'1e-6': should be a number"),
        ("optimizer.lr", ".inf", "inf: should be a finite number"),
        ("optimizer.weight_decay", ".nan", "nan: should be a finite number"),
        ("weights.a", "-.inf", "-inf: should be a finite number"),
        ("whole", "no", "'no': should be true or false"),
        ("whole", "0", "0: should be true or false"),
        ("depth", "true", "true: should be 0 or 1"),
        ("tags", "a,b", "'a,b': should be a list, as [a, b]"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name_in_files_and_overrides(
    tmp_path: Path, key: str, value: str, right: str
) -> None:
    assert problems(write(tmp_path, ""), f"{key}={value}") == (f"override: {key} = {right}",)
    nested = value
    for name in reversed(key.split(".")):
        nested = f"{{{name}: {nested}}}"
    file = write(tmp_path, nested if key != "tags" else "tags: 'a,b'")
    assert problems(file) == (f"{file}:1: {key} = {right}",)


@pytest.mark.parametrize("text", ["no", "007", "1e3", "2024", "0x1F", "true", "1:30", "2026-01-02", ".5"])
def test_a_text_key_takes_what_stands_there_in_files_lists_and_overrides(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, f"name: {text}\ntags: [{text}, 'x']\ndata: {{kind: file, path: {text}}}")
    found = load(path, [], Example)
    assert (found.name, found.tags, found.data) == (text, (text, "x"), FileData(path=text))
    overrides = [f"name={text}", f"tags=[{text}, x]", f"data={{kind: file, path: {text}}}"]
    assert load(write(tmp_path, ""), overrides, Example) == found
    assert load(write(tmp_path, resolved_yaml(found)), [], Example) == found


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (" Put it after ####", " Put it after ####"),
        (" Answer: 5", " Answer: 5"),
        (r"\nAnswer in \boxed{}.", r"\nAnswer in \boxed{}."),
        ("{a: b}", "{a: b}"),
        ("[a", "[a"),
        ("", ""),
        ("'", "'"),
        ("' a #1'", " a #1"),
        (r'"a\nb"', "a\nb"),
    ],
)
def test_an_override_of_a_text_key_is_the_text_unless_it_is_in_quotes(tmp_path: Path, written: str, meant: str) -> None:
    assert load(write(tmp_path, ""), [f"name={written}"], Example).name == meant


@pytest.mark.parametrize("nothing", ["", "null", "~"])
def test_nothing_is_null_where_a_text_key_may_be_empty(tmp_path: Path, nothing: str) -> None:
    assert load(write(tmp_path, "note: a"), [f"note={nothing}"], Example).note is None


def test_text_that_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    for override in ("name=\udc80", 'name="\\ud83d"'):
        (line,) = problems(write(tmp_path, ""), override)
        assert "text has half of a character" in line


def test_a_key_of_a_mapping_goes_over_one_that_it_merges_wherever_that_stands(tmp_path: Path) -> None:
    path = write(tmp_path, "sets: [&a {kind: file, path: 007}, {kind: file, path: 008, <<: *a}]")
    assert load(path, [], Example).sets == [FileData(path="007"), FileData(path="008")]


def test_overrides_take_scalars_lists_mappings_and_indices(tmp_path: Path) -> None:
    path = write(tmp_path, "sets: [{kind: file, path: a}, {kind: made, count: 1}]\nweights: {x: 1}")
    overrides = ["sets.0.path=b", "sets.1={count: 7}", "tags=[p, q]", "weights.y=2", "steps=5", "optimizer={lr: 0.5}"]
    experiment = load(path, overrides, Example)
    assert experiment.sets == [FileData(path="b"), MadeData(count=7)]
    assert experiment.tags == ("p", "q")
    assert experiment.weights == {"x": 1.0, "y": 2.0}
    assert experiment.steps == 5
    assert experiment.optimizer == OptimizerSettings(lr=0.5)


def test_a_value_may_contain_equals_signs_and_the_later_override_wins(tmp_path: Path) -> None:
    assert load(write(tmp_path, ""), ["name=first", "name=a=b"], Example).name == "a=b"


def test_a_file_extends_another_one_key_by_key(tmp_path: Path) -> None:
    write(tmp_path, "name: base\noptimizer: {lr: 0.1, ramp_steps: 4}", "base.yaml")
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub", "extends: ../base.yaml\ntags: [m]\noptimizer: {ramp_steps: 5}", "middle.yaml")
    path = write(tmp_path, "extends: sub/middle.yaml\nname: top")
    expected = Example(name="top", tags=("m",), optimizer=OptimizerSettings(lr=0.1, ramp_steps=5))
    assert load(path, [], Example) == expected


def test_a_base_may_be_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "name: base", "base.yaml")
    (tmp_path / "sub").mkdir()
    assert load(write(tmp_path / "sub", "extends: ~/base.yaml"), [], Example).name == "base"


def test_files_that_extend_each_other_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, "extends: experiment.yaml", "other.yaml")
    path = write(tmp_path, "extends: other.yaml")
    (line,) = problems(path)
    assert "other.yaml:1: extends = 'experiment.yaml'" in line and "circle" in line


def test_a_missing_base_names_the_file_that_wants_it(tmp_path: Path) -> None:
    (line,) = problems(write(tmp_path, "extends: nowhere.yaml"))
    assert "nowhere.yaml: cannot be read" in line and f"in {tmp_path / 'experiment.yaml'}" in line


@pytest.mark.parametrize("base", ["[a.yaml, b.yaml]", "3", ""])
def test_extends_takes_one_file(tmp_path: Path, base: str) -> None:
    (line,) = problems(write(tmp_path, f"extends: {base}"))
    assert "experiment.yaml:1: extends" in line and "should be one file" in line


def test_picking_another_kind_drops_the_keys_of_the_first(tmp_path: Path) -> None:
    write(tmp_path, "data: {kind: file, path: a}", "base.yaml")
    path = write(tmp_path, "extends: base.yaml\ndata: {kind: made, count: 2}")
    assert load(path, [], Example).data == MadeData(count=2)
    assert load(path, ["data.path=z", "data.kind=file"], Example).data == FileData(path="z")


def test_every_problem_is_listed_with_its_place_key_value_and_remedy(tmp_path: Path) -> None:
    write(tmp_path, "relay:\n  max_calls: -1", "base.yaml")
    path = write(tmp_path, "extends: base.yaml\noptimizer:\n  lr: fast\n  schedule: cosinus\nname: [yes]")
    lines = problems(path, "relay.max_new_tokens=0", "steps=some", "nonsense")
    folder = str(tmp_path)
    assert set(lines) == {
        "override: nonsense: should be key.sub=value",
        f"{folder}/experiment.yaml:3: optimizer.lr = 'fast': should be a number",
        f"{folder}/experiment.yaml:4: optimizer.schedule = 'cosinus': should be 'constant', 'linear' or 'cosine'; "
        "did you mean `cosine`?",
        f"{folder}/experiment.yaml:5: name = ['yes']: should be a valid string",
        f"{folder}/base.yaml:2: relay.max_calls = -1: should be greater than or equal to 0",
        "override: relay.max_new_tokens = 0: should be greater than 0",
        "override: steps = 'some': should be an integer or should be 'all'",
    }


def test_an_unknown_key_brings_the_nearest_name_of_its_level(tmp_path: Path) -> None:
    (line,) = problems(write(tmp_path, "relay:\n  max_call: 3"))
    assert line.endswith("experiment.yaml:2: relay.max_call = 3: unknown key; did you mean `relay.max_calls`?")


def test_an_unknown_override_brings_the_full_path_of_the_same_name_elsewhere(tmp_path: Path) -> None:
    (line,) = problems(write(tmp_path, ""), "lr=1e-5")
    assert line == "override: lr = 1e-05: unknown key; did you mean `optimizer.lr`?"


def test_an_unknown_key_like_no_other_brings_the_names_of_its_level(tmp_path: Path) -> None:
    (line,) = problems(write(tmp_path, ""), "relay.zzz=1")
    assert line.endswith("unknown key; keys here: max_new_tokens, max_calls, call_tokens, teacher_timeout_s")


def test_errors_in_a_union_speak_of_the_chosen_member_only(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "data:\n  kind: file\n  pth: a\nsets:\n- {kind: made, count: 0}\n- {kind: maid, count: 1}\n- {count: 1}",
    )
    place = f"{tmp_path}/experiment.yaml"
    assert set(problems(path)) == {
        f"{place}:1: data.path: is required",
        f"{place}:3: data.pth = 'a': unknown key; did you mean `data.path`?",
        f"{place}:5: sets.0.count = 0: should be greater than 0",
        f"{place}:6: sets.1.kind = 'maid': should be one of 'file', 'made'",
        f"{place}:7: sets.2.kind: is required: one of 'file', 'made'",
    }


def test_a_scalar_in_place_of_a_block_brings_the_names_of_the_block(tmp_path: Path) -> None:
    (line,) = problems(write(tmp_path, "relay: 3"))
    assert line.endswith(
        "relay = 3: should be a mapping with the keys max_new_tokens, max_calls, call_tokens, teacher_timeout_s"
    )


def test_duplicate_keys_are_named_with_both_lines(tmp_path: Path) -> None:
    (line,) = problems(write(tmp_path, "relay:\n  max_calls: 1\n  teacher_timeout_s: 2\n  max_calls: 3"))
    assert line == f"{tmp_path}/experiment.yaml:4: relay.max_calls: is written twice (first at line 2); keep one"


def test_merge_keys_are_no_duplicates(tmp_path: Path) -> None:
    path = write(tmp_path, "sets:\n- &a {kind: made, count: 1}\n- &b {kind: made, count: 2}\n- {<<: *a, count: 3}")
    assert [item.count for item in load(path, [], Example).sets if isinstance(item, MadeData)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("relay: [1", "experiment.yaml:1: cannot be read as YAML"),
        (
            "name: a\nsteps: 3\0",
            "experiment.yaml:2: cannot be read as YAML: special characters are not allowed, #x0000",
        ),
        ("- a", "should be a mapping"),
        ("steps: " + "9" * 5000, "cannot be read as YAML"),
        ("steps: !!timestamp 3", "cannot be read as YAML: a value does not fit its tag"),
        ("steps: !!bool 3", "cannot be read as YAML: a value does not fit its tag"),
        ("steps: " + "[" * 3000 + "]" * 3000, "cannot be read as YAML: values are nested too deeply"),
        ('extends: "a\\0b"', "should be one file, relative to this one"),
        ('name: "\\ud83d"', "experiment.yaml:1: cannot be read as YAML: text has half of a character"),
        ("weights: &w {a: *w}", "an alias should not contain itself"),
        ("sets: [{<<: {kind: made}, <<: {count: 1}}]", "sets.0.<<: is written twice"),
        ("extends: $HOME/base.yaml", "variables are not expanded"),
        ("1: 1", "keys should be text"),
    ],
)
def test_unusable_yaml_is_a_config_error(tmp_path: Path, text: str, said: str) -> None:
    (line,) = problems(write(tmp_path, text))
    assert said in line


def test_bad_overrides_are_listed_together(tmp_path: Path) -> None:
    lines = problems(write(tmp_path, "sets: [{kind: made, count: 1}]"), "tags=[a", "=3", "a..b=1", "sets.4.count=1")
    assert [line.split(": cannot")[0].split(": should")[0].split(" = ")[0] for line in lines] == [
        "override: tags=[a",
        "override: =3",
        "override: a..b=1",
        "override: sets.4",
    ]
    assert "there are 1 items, counted from 0" in lines[-1]


def test_a_rule_over_several_keys_names_the_file(tmp_path: Path) -> None:
    (line,) = problems(write(tmp_path, "name: latest"))
    assert line.startswith(f"{tmp_path}/experiment.yaml: (top level)") and "reserved word" in line


def test_the_schema_knows_extends_and_requires_nothing() -> None:
    schema = json.loads(json_schema(Example))
    assert schema["properties"]["extends"]["type"] == "string"
    assert schema["additionalProperties"] is False
    assert "required" not in json.dumps(schema)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    number = st.floats(min_value=1e-12, max_value=1e12)
    share = st.floats(min_value=0, max_value=1, exclude_max=True)
    data = st.one_of(
        st.builds(FileData, path=st.text(), limit=st.none() | st.integers(-(10**12), 10**12)),
        st.builds(MadeData, count=st.just(2)),
    )
    return Example(
        name=draw(st.text().filter(lambda text: text != "latest")),
        steps=draw(st.integers(-(10**12), 10**12) | st.just("all")),
        optimizer=OptimizerSettings(lr=draw(number), betas=(draw(share), draw(share))),
        data=draw(data),
        sets=draw(st.lists(data, max_size=3)),
        weights=draw(st.dictionaries(st.text(), st.floats(-1e30, 1e30), max_size=3)),
        tags=tuple(
            draw(
                st.lists(
                    st.sampled_from(
                        [
                            "1e-6",
                            "1e3",
                            "0o7",
                            "007",
                            "true",
                            "yes",
                            "null",
                            "~",
                            "2026-01-01",
                            "a: b",
                            "#",
                            " x",
                            "\n",
                            "\x85",
                            "\u2028",
                        ]
                    )
                )
            )
        ),
    )


@given(examples())
def test_resolved_yaml_loads_back_to_an_equal_model(
    tmp_path_factory: pytest.TempPathFactory, experiment: Example
) -> None:
    path = write(tmp_path_factory.getbasetemp(), resolved_yaml(experiment), "round-trip.yaml")
    assert load(path, [], Example) == experiment


@pytest.mark.parametrize("settings", [SamplingSettings(), RelayLimits(), OptimizerSettings(), GrpoLossSettings()])
def test_the_actors_settings_round_trip(tmp_path: Path, settings: Settings) -> None:
    assert load(write(tmp_path, resolved_yaml(settings)), [], type(settings)) == settings
