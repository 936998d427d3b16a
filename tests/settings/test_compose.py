from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest
from helpers import BACKBONES, IMAGE_MODELS, config, each_value, names, pairs
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from fewshot_cli.runs.directory import RunDirectory
from fewshot_cli.settings import choices
from fewshot_cli.settings.compose import GROUPS, changed_config, job_config, jobs, quoted
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.identity import may_change
from fewshot_cli.settings.schema import Config, recorded


def compatible(data: str) -> list[str]:
    no_images = ["model=mlp"] if data in ("sinusoid", "table", "python") else []
    return [f"data={data}", *no_images]


@pytest.mark.parametrize(("data", "algo"), each_value(pairs()))
def test_every_data_set_goes_with_every_algorithm(data: str, algo: str) -> None:
    config = job_config([*compatible(data), f"algo={algo}"])
    assert (config.data.name, config.algo.name) == (data, algo)


@pytest.mark.parametrize("model", names("model"))
def test_every_model_is_chosen_by_its_name(model: str) -> None:
    assert job_config([f"model={model}"]).model.name == model
    assert model in (*IMAGE_MODELS, *BACKBONES, "cnn1d")


@pytest.mark.parametrize("experiment", names("experiment"))
def test_every_experiment_composes(experiment: str) -> None:
    assert isinstance(job_config([f"experiment={experiment}"]), Config)


def test_the_command_line_has_the_last_word() -> None:
    config = job_config(["data=sinusoid", "model=mlp", "algo.inner_lr=0.5", "iterations=3"])
    assert (config.algo.inner_lr, config.iterations) == (0.5, 3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("algo=reptil", r"algo=reptil: expected reptile"),
        ("data=", r"data"),
        ("experiment=nope", r"experiment=nope: expected what `fewshot ls`"),
        ("algoo=maml", r"algoo: no such key; expected algo"),
        ("algo.inner_lrr=1", r"algo.inner_lrr: no such key; expected algo.inner_lr or"),
        ("seed=abc", r"seed: Value 'abc' of type 'str' could not be converted to Integer"),
        ("seed=null", r"seed: field 'seed' is not Optional"),
        ("eval=3", r"eval=3: holds several keys; expected eval.tasks=... or 'eval={tasks:...,"),
        (
            "data.fractions=[0.4,0.3,0.3]",
            r"data.fractions=\[0.4,0.3,0.3\]: .*expected data.fractions.train=... or "
            r"'data.fractions={train:...,valid:...,test:...}'",
        ),
        ("experiment=maml_smoke", r"expected smoke; `fewshot ls experiment` shows all \d+"),
        ("algo.meta_schedule=lin", r"expected one of \[constant, linear, cosine\]"),
        ("foo", r"foo: expected KEY=VALUE or GROUP=CHOICE"),
        ("a={", r"a=\{: expected KEY=VALUE"),
        ("+foo=1", r"foo: no such key"),
        ("~seed", r"~seed: a setting can be changed, not removed"),
        ("seed=1,2", r"seed=1,2: several values need -m"),
        ("algo.inner_batch=3", r"algo=maml does not read it; expected algo.inner_lr or"),
        ("data.root=x", r"data.root: data=glyphs does not read it"),
        ("++algo.kind=../x", r"algo.kind: tells what the algo is; expected another choice"),
        ("algo.name=mine", r"algo.name: tells what"),
        ("data.regression=true", r"data.regression: tells what"),
        ("model.images_only=false", r"model.images_only: tells what"),
        ("algo.inner_lr=???", r"algo.inner_lr: expected a value"),
        ("cache_dir=${oc.env:NOT_THERE}", r"cache_dir.*NOT_THERE"),
        ("hydra.foo=1", r"hydra.foo=1: of Hydra's own settings, expected hydra.run.dir"),
        ("hydra.mode=MULTIRUN", r"hydra.mode=MULTIRUN: of Hydra's own settings"),
        ("hydra.sweep.subdir=x", r"hydra.sweep.subdir=x: of Hydra's own settings"),
        ("hydra.output_subdir=null", r"hydra.output_subdir=null: of Hydra's own settings"),
        ("hydra.run.dir=${now:%H}", r"hydra.run.dir=.*: expected a plain path"),
        ("hydra/launcher=nope", r"Could not find 'hydra/launcher/nope' Available options .* basic"),
        ("=1", r"=1: expected KEY=VALUE or GROUP=CHOICE"),
        ("data.root=[1]", r"data.root: Cannot convert 'list' to string"),
        ("algo@foo=maml", r"algo@foo: no such key"),
    ],
)
def test_a_wrong_override_is_one_line_that_names_it(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        job_config([override])
    assert "\n" not in str(caught.value)


def test_a_sweep_is_every_combination() -> None:
    found_jobs = jobs(["algo=maml,reptile", "seed=range(1,4)", "algo.inner_steps=2,3"])
    configs = [job.config for job in found_jobs]
    found = {(c.algo.name, c.seed, c.algo.inner_steps) for c in configs}
    assert len(configs) == len(found) == 12
    assert found_jobs[-1].swept == "algo=reptile,seed=3,algo.inner_steps=3"


def test_a_range_to_search_is_checked_at_its_ends() -> None:
    found = jobs(["algo.inner_lr=tag(log,interval(0.01,1))", "ways=int(interval(2,7))", "seed=1"])
    settings = {(job.config.algo.inner_lr, job.config.ways) for job in found}
    assert settings == {(0.01, 2), (0.01, 7), (1.0, 2), (1.0, 7)}
    with pytest.raises(UserError, match=r"algo.inner_lr=-1"):
        jobs(["algo.inner_lr=interval(-1,1)"])


def test_each_job_of_a_sweep_has_the_settings_of_its_own_data_and_algorithm() -> None:
    found = jobs(["data=sinusoid", "model=mlp", "algo=maml,reptile"])
    assert [job.config.algo.inner_lr for job in found] == [0.01, 0.005]


@pytest.mark.parametrize("overrides", [["seed=1,abc"], ["algo=maml,nope"], ["ways=5,5000"]])
def test_one_wrong_job_stops_the_sweep(overrides: list[str]) -> None:
    with pytest.raises(UserError):
        jobs(overrides)


def test_in_a_sweep_a_key_must_be_read_by_one_of_its_algorithms() -> None:
    found = jobs(["algo=maml,reptile", "algo.inner_batch=3,4"])
    assert [job.overrides for job in found] == [
        ["algo=maml"],  # once, since it does not read the key
        ["algo=reptile", "algo.inner_batch=3"],
        ["algo=reptile", "algo.inner_batch=4"],
    ]
    assert [job.swept for job in found] == [",".join(job.overrides) for job in found]
    assert found[0].config.algo == job_config([]).algo
    with pytest.raises(UserError, match=r"algo=fomaml,maml does not read it"):
        jobs(["algo=maml,fomaml", "algo.inner_batch=3,4"])


def test_groups_of_the_user_s_own(tmp_path: Path) -> None:
    folder = tmp_path / "it's mine"
    (folder / "algo").mkdir(parents=True)
    shipped = {option.name: option.text for option in choices.options("algo")}
    text = shipped["maml"].replace("name: maml", "name: mine").replace("0.4", "0.123")
    (folder / "algo" / "mine.yaml").write_text(text)
    config = job_config(["algo=mine"], folder)
    assert (config.algo.name, config.algo.inner_lr) == ("mine", 0.123)
    with pytest.raises(UserError, match=r"algo=min: expected mine"):
        job_config(["algo=min"], folder)
    with pytest.raises(UserError, match=r"--config-dir .*nowhere: expected a folder"):
        job_config([], tmp_path / "nowhere")
    (folder / "algo" / "broken.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"broken.yaml.*expected YAML"):
        job_config(["algo=broken"], folder)


def save(config: Config, path: Path) -> Path:
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(recorded(config))))
    return path


def test_a_kind_from_a_user_s_own_file_reaches_no_other_code(tmp_path: Path) -> None:
    (tmp_path / "algo").mkdir()
    text = {option.name: option.text for option in choices.options("algo")}["maml"]
    (tmp_path / "algo" / "mine.yaml").write_text(text.replace("kind: maml", "kind: os"))
    with pytest.raises(UserError, match=r"kind=os: expected a file of fewshot_cli/algorithms"):
        job_config(["algo=mine"], tmp_path)


def test_a_user_s_own_file_does_not_take_a_shipped_name(tmp_path: Path) -> None:
    (tmp_path / "algo").mkdir()
    (tmp_path / "algo" / "maml.yaml").write_text("name: maml")
    with pytest.raises(UserError, match=r"maml.yaml: algo=maml is shipped; expected another"):
        job_config([], tmp_path)


def changed(saved: Path, *overrides: str) -> Config:
    return changed_config(saved, list(overrides), may_change("evaluate"))


def test_a_saved_config_changes_only_where_it_is_told(tmp_path: Path) -> None:
    saved = save(job_config(["algo=reptile", "seed=7"]), tmp_path / "config.yaml")
    same = changed(saved)
    assert same == job_config(["algo=reptile", "seed=7"])
    other = changed(saved, "eval.tasks=7", "data.root=/x", "data=omniglot", "shots=3")
    assert (other.eval.tasks, other.shots, other.seed) == (7, 3, 7)
    assert other.algo == same.algo
    fresh = job_config(["data=omniglot", "data.root=/x"])
    assert other.data == fresh.data


def test_another_data_set_keeps_nothing_of_the_one_before(tmp_path: Path) -> None:
    saved = save(job_config(["data=omniglot", "data.root=/x"]), tmp_path / "config.yaml")
    assert changed(saved, "data=glyphs").data == job_config([]).data


def test_the_cache_is_this_machine_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = save(job_config(["cache_dir=/of/another/machine"]), tmp_path / "config.yaml")
    monkeypatch.setenv("FEWSHOT_CACHE", "/of/this/one")
    assert changed(saved).cache_dir == "/of/this/one"
    assert changed(saved, "cache_dir=/told").cache_dir == "/told"


def test_a_root_is_kept_from_wherever_one_stood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert job_config(["data=omniglot", "data.root=here"]).data.root == str(tmp_path / "here")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("eval.task=7", r"eval.task: cannot be changed afterwards; expected eval.tasks"),
        ("data=nope", r"data=nope: expected cifarfs, cub, fc100, folder, glyphs"),
        ("eval.tasks=x", r"eval.tasks: Value 'x' of type 'str'"),
        ("foo", r"foo: expected KEY=VALUE"),
        ("=1", r"=1: expected KEY=VALUE"),
        ("~algo", r"~algo: a setting can be changed, not removed"),
        ("+foo=1", r"foo: no such key"),
        ("eval.tasks=1,2", r"eval.tasks=1,2: expected one value"),
        # They say how the weights came about.
        *(
            (line, r"cannot be changed afterwards")
            for line in ("seed=5", "queries=3", "iterations=1")
        ),
        (
            "algo=fomaml",
            r"algo: cannot .*; expected algo.backbone_inner_lr, algo.eval_inner_batch, ",
        ),
        (
            "model=fc",
            r"model: cannot .*; expected algo.backbone_inner_lr, .*, data, data.*, .*eval.*",
        ),
        *(
            (line, r"cannot be changed afterwards")
            for line in ("algo.inner_steps=9", "meta_batch=2")
        ),
        *((line, r"cannot be changed afterwards") for line in ("experiment=smoke", "tuned=x_y")),
        ("hydra.run.dir=x", r"hydra.run.dir: cannot be changed afterwards"),
        ("data.kind=sinusoid", r"data.kind: tells what the data is"),
        ("data.root=x", r"data.root: data=glyphs does not read it"),
        ("algo.eval_inner_batch=5", r"algo=maml does not read it"),
        ("data.classes=null", r"data.classes"),
        ("data.samples=null", r"data.samples=null: data=glyphs needs a value"),
        ("shots=15", r"shots=15 and eval.queries=15"),
    ],
)
def test_a_wrong_change_of_a_saved_config(tmp_path: Path, override: str, message: str) -> None:
    saved = save(config(), tmp_path / "config.yaml")
    with pytest.raises(UserError, match=message) as caught:
        changed(saved, override)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["seed=1", "model=mlp", "model.hidden=[3,4]", "algo.inner_lr=0.3", "seed=2"],
        ["experiment=omniglot_5w1s_maml_fast", "data.root=here", "data.classes.valid=9"],
        ["data=sinusoid", "model=mlp", "algo=reptile", "ways=1", "init=run", "tags=[a,b]"],
    ],
)
def test_the_configs_of_other_tests_are_those_of_a_job(overrides: list[str]) -> None:
    for words in (overrides, [*overrides, "eval.tasks=7"]):
        assert config(*words) == job_config(words)


@pytest.mark.parametrize(
    "overrides",
    [
        ["seed=1,2", "algo=maml,reptile", "algo.inner_lr=0.1,1", "threads=null,2"],
        ["algo=maml,reptile", "algo.inner_batch=3,4", "seed=1,2"],  # which MAML does not read
        ["precision=float32,bf16", "eval.transductive=true,false", "algo.inner_lr=1"],
        ["model=mlp", "model.hidden=[4],[5,6]", "seed=1,2"],
        ["data=folder", "data.root=a,b", "data.augment.flip=true,false", "data.min_images=null"],
        ["data=folder", "data.root=a", "data.fractions={train:0.5,valid:0.2,test:0.3},null"],
        ["eval.every=10,20", "iterations=${eval.every}"],
        ["seed=1,2", "shots=1", "seed=2,1"],
        ["experiment=smoke", "seed=1,2", "init=a,b"],
    ],
)
@pytest.mark.slow
def test_jobs_that_are_composed_together_are_those_composed_one_by_one(
    overrides: list[str],
) -> None:
    found = jobs(overrides)
    assert len(found) > 1
    for job in found:
        alone = job_config(job.overrides)
        assert job.config == alone
        assert [vars(job.config)[group].reads for group in GROUPS] == [
            vars(alone)[group].reads for group in GROUPS
        ]


def test_a_key_that_follows_another_is_composed_anew_for_each_job(tmp_path: Path) -> None:
    file = tmp_path / "experiment" / "follows.yaml"
    file.parent.mkdir()
    file.write_text("# @package _global_\niterations: 7\neval:\n  every: ${iterations}\n")
    found = jobs(["experiment=follows", "iterations=3,5"], tmp_path)
    assert [job.config.eval.every for job in found] == [3, 5]


def test_no_job_shares_what_another_one_changes() -> None:
    one, two = jobs(["seed=1,2"])
    one.config.data.fingerprint = "found"
    one.config.eval.tasks = 1
    assert (two.config.data.fingerprint, two.config.eval.tasks) == (None, 600)


def test_a_wrong_value_in_a_later_job_is_told_as_in_the_first() -> None:
    told = [refusal(f"seed={seeds}") for seeds in ("x", "1,2,x")]
    assert told[0] == told[1]
    assert told[0].startswith("seed: ")


def refusal(*words: str) -> str:
    with pytest.raises(UserError) as refused:
        jobs(list(words))
    return str(refused.value)


def test_several_trackers_read_the_keys_of_each(tmp_path: Path) -> None:
    words = ["tracker=[tensorboard,mlflow,wandb]", "tracker.uri=here", "tracker.project=birds"]
    chosen = job_config(words)
    assert chosen.tracker.kinds == ["tensorboard", "mlflow", "wandb"]
    assert {"uri", "project", "timeout"} <= chosen.tracker.reads
    assert pickle.loads(pickle.dumps(chosen)).tracker == chosen.tracker
    (job,) = jobs([*words, "seed=1"])
    assert job.config.tracker == chosen.tracker
    RunDirectory(tmp_path).record(chosen)
    again = changed_config(tmp_path / "config.yaml", ["tracker.uri=there"], {"tracker.uri"})
    assert again.tracker.kinds == chosen.tracker.kinds
    assert (again.tracker.uri, vars(again.tracker)["project"]) == ("there", "birds")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tracker=[tensorboard,wandbb]"], "tracker=wandbb: expected wandb"),
        (["tracker=[tensorboard,mlflow]", "tracker.project=x"], "tracker.project: tracker="),
    ],
)
def test_a_wrong_word_about_several_trackers_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        job_config(words)


@given(st.text(st.sampled_from("ab ,'\"\\\\[]{}=:\n#é()*"), max_size=9))
def test_any_text_can_be_quoted(text: str) -> None:
    (override,) = OverridesParser.create().parse_overrides([f"notes={quoted(text)}"])
    assert str(override.value()) == text
