"""What a config may not do, from the command line or from a user's own folder."""

from __future__ import annotations

from pathlib import Path

import fuzz
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fewshot_cli.settings.compose import jobs
from fewshot_cli.settings.errors import UserError

ODD = ["a: [", "- 1", "? :", "&a [*a]", "seed: {}", "defaults: [x]", "!!python/name:os.system x"]
EVIL = {
    "callbacks": "# @package _global_\nhydra:\n  callbacks:\n    x:\n      _target_: os.system\n",
    "logging": "# @package hydra.job_logging\nhandlers:\n  x:\n    class: os.system\n",
    "environment": "# @package _global_\nhydra:\n  job:\n    env_set:\n      LD_PRELOAD: x.so\n",
    "launcher": "# @package hydra.launcher\n_target_: os.system\n",
}


@pytest.mark.parametrize("case", EVIL)
def test_a_folder_sets_no_code_for_hydra_to_run(tmp_path: Path, case: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "evil.yaml").write_text(EVIL[case])
    with pytest.raises(UserError, match=r"a file there sets hydra\..*--trust-config-dir"):
        jobs(["experiment=evil"], tmp_path)
    assert len(jobs(["experiment=evil"], tmp_path, trusted=True)) == 1


@pytest.mark.parametrize(
    "line", ["hydra.launcher._target_=os.system", "hydra.sweeper.x={_target_:os.system}"]
)
def test_the_command_line_names_no_code(line: str) -> None:
    with pytest.raises(UserError, match=r"names no Python code"):
        jobs([line])


@pytest.mark.slow
@settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(fuzz.LINES, min_size=1, max_size=3))
def test_an_odd_override_is_a_config_or_one_line(overrides: list[str]) -> None:
    assert fuzz.outcome_of(overrides) in ("valid", "refused")


@pytest.mark.slow
@settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(
        st.binary(max_size=60),
        st.builds(
            str.encode,
            st.sampled_from(ODD),
        ),
    )
)
def test_an_odd_group_file_is_a_config_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("groups")
    (folder / "experiment").mkdir()
    (folder / "experiment" / "odd.yaml").write_bytes(b"# @package _global_\n" + content)
    assert fuzz.outcome_of(["experiment=odd"], folder) in ("valid", "refused")
