from __future__ import annotations

import torch
from helpers import image_tasks


def test_split_keeps_all_tasks_in_order() -> None:
    batch = image_tasks(tasks=5)
    parts = list(batch.split(2))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.query_x for part in parts]), batch.query_x)
    assert torch.equal(torch.cat([part.support_y for part in parts]), batch.support_y)
