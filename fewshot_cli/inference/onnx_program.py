"""An adapted model as an ONNX file, which runs where onnxruntime is and torch is not.

`images` or `rows` come in as the judge takes them, and `probabilities` or `numbers` come out. What
a caller must know besides stands in the file's metadata, JSON under a name each.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewshot_cli.inference.model import Judge
from fewshot_cli.settings.errors import UserError

WRITING = ("onnx", "onnxscript", "onnxruntime")


def check_installed(path: Path, needed: tuple[str, ...] = WRITING) -> None:
    """Refuse to begin where the packages for it are missing.

    Raises:
        UserError: one of them is.
    """
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise UserError(f"{path}: needs {missing[0]}; expected `pip install 'fewshot[onnx]'`")


def to_onnx(judge: Judge, inputs: Tensor, batch: dict[int, Any], facts: dict[str, Any]) -> bytes:
    """The content of the file.

    Args:
        inputs: an example, `[B, ...]`.
        batch: empty where B is always 1.
    """
    import onnx

    taken = "rows" if "rows" in facts else "images"
    given = "numbers" if judge.numbers else "probabilities"
    with _silent():
        program = torch.onnx.export(
            judge,
            (inputs,),
            dynamo=True,
            dynamic_shapes=(batch,),
            input_names=[taken],
            output_names=[given],
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {name: json.dumps(fact) for name, fact in facts.items()})
    return bytes(proto.SerializeToString())


def of_onnx(content: bytes) -> tuple[nn.Module, dict[str, Any]]:
    """The judge that a file's content is, and what stands in the metadata."""
    session = Session(content)
    kept = session.session.get_modelmeta().custom_metadata_map
    return session, {name: json.loads(fact) for name, fact in kept.items()}


class Session(nn.Module):
    """onnxruntime on the CPU in the place of a judge."""

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors alone
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(content, options, providers)
        self.input = self.session.get_inputs()[0].name

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.from_numpy(self.session.run(None, {self.input: inputs.cpu().numpy()})[0])


@contextmanager
def _silent() -> Iterator[None]:
    """Without the exporters' warnings, which speak of their own code or of norms that train."""
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
