"""`make fuzz`: odd override lines, each of which must be a config or one line of complaint.

What composes and passes the checks is what a run begins with, so none is begun.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fewshot_cli.settings import choices, compose
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import keys

GROUPS = [f"{group}={option.name}" for group in choices.SHOWN for option in choices.options(group)]
HYDRA = ["hydra.run.dir", "hydra.launcher._target_", "hydra.callbacks.x._target_", "hydra/launcher"]
KEYS = st.sampled_from([*keys(), *choices.SHOWN, *HYDRA, "_target_", "defaults", ""])
VALUES = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=12),
    st.sampled_from(
        [
            *("null", "true", "[]", "{}", "[1,[2]]", "{a:1}", "???", "${seed}", "${oc.env:HOME}"),
            *("${nowhere}", "${", "'", '"', "range(1,3)", "choice(1,2)", "1e999", "nan", "-1", "0"),
            *(
                "glob(*)",
                "interval(0,1)",
                "int(3)",
                "shuffle(1,2)",
                "9" * 40,
                "../../etc",
                "os.system",
            ),
        ]
    ),
)
LINES = st.one_of(
    st.sampled_from(GROUPS),
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["", "", "", "+", "++", "~", "@"]),
        st.one_of(KEYS, KEYS, st.text(max_size=12)),
        st.sampled_from(["=", "=", "=", "", "==", ":", "@x="]),
        VALUES,
    ),
    st.text(max_size=30),
)


def outcome_of(overrides: list[str], config_dir: Path | None = None) -> str:
    """`valid` or `refused`.

    Raises:
        AssertionError: the complaint is not one short line that can be printed.
    """
    try:
        compose.jobs(overrides, config_dir)
    except UserError as error:
        line = " ".join(str(error).split())
        assert line
        line.encode("utf-8", "replace")
        return "refused"
    return "valid"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tally, start = Counter[str](), time.monotonic()

    @seed(options.seed)
    @settings(
        max_examples=options.lines,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(LINES, min_size=1, max_size=3))
    def check(overrides: list[str]) -> None:
        tally[outcome_of(overrides)] += 1
        if tally.total() % 1000 == 0:
            show()

    def show() -> None:
        print(
            f"{tally.total():,} override lines: {tally['valid']:,} valid, {tally['refused']:,} "
            f"refused in one line, 0 tracebacks; {time.monotonic() - start:.0f} s",
            flush=True,
        )

    check()
    show()


if __name__ == "__main__":
    main()
