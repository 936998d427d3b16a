from __future__ import annotations

from pathlib import Path

import pytest
from helpers import IMAGE_MODELS, names
from omegaconf import OmegaConf

from fewshot_cli import groups
from fewshot_cli.compose import changed_config, job_config, sweep_configs
from fewshot_cli.config import Config, UserError


def compatible(data: str) -> list[str]:
    return ["data=sinusoid", "model=mlp"] if data == "sinusoid" else [f"data={data}"]


@pytest.mark.parametrize("algo", names("algo"))
@pytest.mark.parametrize("data", names("data"))
def test_every_data_set_goes_with_every_algorithm(data: str, algo: str) -> None:
    config = job_config([*compatible(data), f"algo={algo}"])
    assert (config.data.name, config.algo.name) == (data, algo)


@pytest.mark.parametrize("model", names("model"))
def test_every_model_is_chosen_by_its_name(model: str) -> None:
    assert job_config([f"model={model}"]).model.name == model
    assert model in IMAGE_MODELS


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
        ("experiment=nope", r"experiment=nope: expected smoke"),
        ("algoo=maml", r"algoo: no such key; expected algo"),
        ("algo.inner_lrr=1", r"algo.inner_lrr: no such key; expected algo.inner_lr or"),
        ("seed=abc", r"seed: Value 'abc' of type 'str' could not be converted to Integer"),
        ("seed=null", r"seed: field 'seed' is not Optional"),
        ("eval=3", r"eval: Invalid type assigned"),
        ("algo.meta_schedule=lin", r"expected one of \[constant, linear, cosine\]"),
        ("foo", r"foo: expected KEY=VALUE or GROUP=CHOICE"),
        ("a={", r"a=\{: expected KEY=VALUE"),
        ("+foo=1", r"foo: no such key"),
        ("~seed", r"~seed: a setting can be changed, not removed"),
        ("seed=1,2", r"seed=1,2: several values need -m"),
        ("algo.inner_batch=3", r"algo=maml does not read it; expected algo.inner_lr or"),
        ("data.root=x", r"data.root: data=glyphs does not read it"),
        ("++algo.kind=../x", r"kind=../x: expected a file of fewshot_cli/algorithms"),
        ("algo.inner_lr=???", r"algo.inner_lr: expected a value"),
        ("cache_dir=${oc.env:NOT_THERE}", r"cache_dir.*NOT_THERE"),
        ("hydra.foo=1", r"hydra.foo: no such key"),
        ("hydra.mode=MULTIRUN", r"hydra.mode=MULTIRUN: expected -m"),
        ("hydra/launcher=nope", r"Could not find 'hydra/launcher/nope' Available options .* basic"),
        ("=1", r"Config group override must be a string"),
        ("data.root=[1]", r"data.root: Cannot convert 'list' to string"),
        ("algo@foo=maml", r"algo@foo: no such key"),
    ],
)
def test_a_wrong_override_is_one_line_that_names_it(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        job_config([override])
    assert "\n" not in str(caught.value)


def test_a_sweep_is_every_combination() -> None:
    configs = sweep_configs(["algo=maml,reptile", "seed=range(1,4)", "algo.inner_steps=2,3"])
    found = {(c.algo.name, c.seed, c.algo.inner_steps) for c in configs}
    assert len(configs) == len(found) == 12


def test_each_job_of_a_sweep_has_the_settings_of_its_own_data_and_algorithm() -> None:
    configs = sweep_configs(["data=sinusoid", "model=mlp", "algo=maml,reptile"])
    assert [config.algo.inner_lr for config in configs] == [0.01, 0.005]


@pytest.mark.parametrize("overrides", [["seed=1,abc"], ["algo=maml,nope"], ["ways=5,5000"]])
def test_one_wrong_job_stops_the_sweep(overrides: list[str]) -> None:
    with pytest.raises(UserError):
        sweep_configs(overrides)


def test_in_a_sweep_a_key_must_be_read_by_one_of_its_algorithms() -> None:
    assert len(sweep_configs(["algo=maml,reptile", "algo.inner_batch=3,4"])) == 4
    with pytest.raises(UserError, match=r"algo=fomaml,maml does not read it"):
        sweep_configs(["algo=maml,fomaml", "algo.inner_batch=3,4"])


def test_groups_of_the_user_s_own(tmp_path: Path) -> None:
    folder = tmp_path / "it's mine"
    (folder / "algo").mkdir(parents=True)
    shipped = {option.name: option.text for option in groups.options("algo")}
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
    path.write_text(OmegaConf.to_yaml(OmegaConf.structured(config)))
    return path


def test_a_saved_config_changes_only_where_it_is_told(tmp_path: Path) -> None:
    saved = save(job_config(["algo=reptile", "seed=7"]), tmp_path / "config.yaml")
    same = changed_config(saved, [])
    assert same == job_config(["algo=reptile", "seed=7"])
    changed = changed_config(saved, ["eval.tasks=7", "data=omniglot", "data.root=/x", "shots=3"])
    assert (changed.eval.tasks, changed.shots, changed.seed) == (7, 3, 7)
    assert (changed.data.name, changed.data.root) == ("omniglot", "/x")
    assert changed.algo == same.algo


@pytest.mark.parametrize(
    "override", ["eval.task=7", "data=nope", "eval.tasks=x", "foo", "ways=500"]
)
def test_a_wrong_change_of_a_saved_config(tmp_path: Path, override: str) -> None:
    saved = save(job_config([]), tmp_path / "config.yaml")
    with pytest.raises(UserError, match=override.partition("=")[0]) as caught:
        changed_config(saved, [override])
    assert "\n" not in str(caught.value)
