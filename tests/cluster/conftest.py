"""A SLURM of two nodes for the tests in this folder, which `make cluster` runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.slurm import Slurm


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(900))  # several starts of torch on a slow machine


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Of two nodes, n1 and n2, with accounts; commands reach it by `slurm.env`."""
    yield from _running(Slurm(tmp_path_factory.mktemp("slurm")))


@pytest.fixture(scope="session")
def slurm_without_accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Another one, where `sacct` fails."""
    yield from _running(Slurm(tmp_path_factory.mktemp("slurm"), accounts=False))


def _running(cluster: Slurm) -> Iterator[Slurm]:
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
