from __future__ import annotations

import collections
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fewshot_cli.data.images import pickles
from fewshot_cli.settings.errors import UserError

CONTENT = {
    "bytes": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "turned": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"),
    "scalar": np.int64(7),
    "plain": [1, "two", b"\xff\x00", None, True, (2.5,)],
}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_what_numpy_pickled_is_read(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(CONTENT, protocol))
    content = pickles.load(tmp_path / "file.pkl")
    for name in ("bytes", "turned", "big endian"):
        assert content[name].tolist() == CONTENT[name].tolist()
        # The same numbers; their bytes may be turned round into this machine's order.
        assert content[name].dtype.newbyteorder("=") == CONTENT[name].dtype.newbyteorder("=")
    assert content["scalar"] == 7
    assert content["plain"] == CONTENT["plain"]


class Evil:
    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple[object, ...]:
        function, *arguments = self.call
        return function, tuple(arguments)


@pytest.mark.parametrize(
    "content",
    [
        Evil(Path.touch, Path("executed")),
        Evil(eval, "open('executed', 'w')"),
        Evil(getattr, "", "join"),
        Evil(np.load, "executed.npy"),
        collections.OrderedDict(),
        np.array([Evil(eval, "open('executed', 'w')")], dtype=object),
    ],
)
def test_whatever_else_a_pickle_names_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.pkl").write_bytes(pickle.dumps({"image_data": content}))
    with pytest.raises(UserError, match=r"file.pkl: expected a whole pickle of numpy arrays \("):
        pickles.load(tmp_path / "file.pkl")
    assert not (tmp_path / "executed").exists()


def test_a_damaged_pickle_is_refused_wherever_the_damage_is(tmp_path: Path) -> None:
    whole = pickle.dumps(CONTENT)
    path = tmp_path / "file.pkl"
    for end in range(0, len(whole), 2):
        path.write_bytes(whole[:end])
        with pytest.raises(UserError, match="expected a whole pickle"):
            pickles.load(path)
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        with suppress(UserError):  # other numbers may be as good as the right ones
            pickles.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.pkl: no such file"):
        pickles.load(tmp_path / "none.pkl")
