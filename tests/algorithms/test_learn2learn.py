"""What is imported of learn2learn, in a Python of its own."""

from __future__ import annotations

import subprocess
import sys

OURS = "from fewshot_cli.algorithms import learn2learn as ours; import sys\n"


def python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_only_what_is_needed_is_imported() -> None:
    python(OURS + "assert not {'gym', 'cvxpy', 'learn2learn', 'torchvision'} & set(sys.modules)")


def test_the_whole_of_it_can_still_be_imported() -> None:
    python(OURS + "import learn2learn; learn2learn.vision.models.OmniglotCNN; learn2learn.gym")


def test_it_is_taken_from_a_learn2learn_that_is_there() -> None:
    python("import learn2learn\n" + OURS + "assert ours.MAML is learn2learn.algorithms.MAML")
