from __future__ import annotations

import pytest
import reference


@pytest.mark.slow
def test_the_page_of_all_keys_is_that_of_the_schema() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "make reference"
