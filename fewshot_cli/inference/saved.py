"""Adapted models in files: `.pt` holds weights, `.pt2` and `.onnx` (see onnx_program.py) a program.

A program runs without this package.
"""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from torch import Tensor, nn

from fewshot_cli import models
from fewshot_cli.data.tables.encoding import Kept
from fewshot_cli.inference.images import Form
from fewshot_cli.inference.model import Judge, Model
from fewshot_cli.inference.of_rows import RowModel
from fewshot_cli.inference.onnx_program import check_installed, of_onnx, to_onnx
from fewshot_cli.inference.rows import Rows
from fewshot_cli.inference.unlike import Unlike
from fewshot_cli.runs.directory import atomic
from fewshot_cli.settings import choices
from fewshot_cli.settings.errors import UserError, in_short
from fewshot_cli.settings.schema import ModelConfig
from fewshot_cli.training import checkpoints
from fewshot_cli.training.setup import device_named

ENDINGS = (".pt", ".pt2", ".onnx")
FACTS = "fewshot.json"  # in a program's archive
NEAR = 1e-5  # how far a program's probabilities may be from the model's


def check(path: Path) -> None:
    """Refuse a file to save to, before anything is computed for it.

    Raises:
        UserError: the ending is another one, or what writes it is not installed.
    """
    _check_ending(path)
    if path.suffix == ".onnx":
        check_installed(path)


def save(model: Model | RowModel, path: str | Path) -> None:
    """Keep an adapted model; a program is run and compared with the model before it is kept.

    Raises:
        UserError: the ending is another one, or the model is a program itself.
    """
    path = Path(path)
    check(path)
    if not isinstance(model.judge, Judge):
        raise UserError(f"{path}: the model is a program already; copy its file")
    network = model.network
    if isinstance(model, Model) and network.sized:  # whose weights are all in the file
        network = replace(network, weights="none", image_size=model.form.shape[-1])  # type: ignore[call-arg]
    facts = {
        "network": OmegaConf.to_container(OmegaConf.structured(network), enum_to_str=True),
        "classes": model.classes,
        "transductive": model.transductive,
        "apart": model.apart,
    }
    if isinstance(model, RowModel):
        facts |= {"shape": list(model.judge.support.shape[1:]), "rows": asdict(model.rows)}
    else:
        facts |= {"shape": list(model.form.shape), "invert": model.form.invert}
    if path.suffix == ".pt":
        weights = model.judge.net.state_dict()
        state = {"facts": facts, "net": weights, "support": model.judge.support}
        unlike = model.unlike if isinstance(model, Model) else None
        checkpoints.write(path, state | ({"unlike": asdict(unlike)} if unlike else {}))
        return
    content = _program(model.judge, path, facts)
    with atomic(path, "wb") as file:
        file.write(content)


def _check_ending(path: Path) -> None:
    if path.suffix not in ENDINGS:
        raise UserError(f"{path}: expected a file that ends in {', '.join(ENDINGS)}")


def load(path: str | Path, device: str = "auto") -> Model | RowModel:
    """The model that `save` kept.

    A `.pt2` is a program, which may do anything: load only those that you trust.

    Raises:
        UserError: the file is missing, damaged or something else, or there is no such device.
    """
    path, there = Path(path), device_named(device)
    _check_ending(path)
    if path.suffix == ".onnx":
        check_installed(path, needed=("onnxruntime",))
    try:
        far = None
        if path.suffix == ".pt":
            judge, facts, far = _weights(path)
        else:
            _, read = PROGRAMS[path.suffix]
            judge, facts = read(path.read_bytes())
        classes, together = facts["classes"], facts["transductive"]
        apart = facts.get("apart", False)  # which the first releases did not know
        network, judge = _network(facts), judge.to(there)
        if "rows" in facts:
            rows = _rows(facts)
            return RowModel(judge, network, classes, rows, together, there, apart)
        form = Form(tuple(facts["shape"]), facts["invert"])
        unlike = Unlike(far["means"].to(there), far["limit"]) if far else None
        return Model(judge, network, classes, form, together, there, apart, unlike=unlike)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    # Readers of archives let errors of many kinds out of a file that is none of ours.
    except Exception as error:
        raise UserError(f"{path}: expected what `fewshot adapt --save` wrote") from error


def _weights(path: Path) -> tuple[nn.Module, dict[str, Any], dict[str, Any] | None]:
    state = checkpoints.read(path)
    facts = state["facts"]
    outputs = len(facts["classes"]) or len(_rows(facts).targets)
    net = models.build(_network(facts), tuple(facts["shape"]), outputs)
    net.load_state_dict(state["net"])
    numbers = not facts["classes"]
    judge = Judge(net, state["support"], facts["transductive"], numbers)
    return judge, facts, state.get("unlike")


def _rows(facts: dict[str, Any]) -> Rows:
    kept = facts["rows"]
    return Rows(**kept | {"kept": Kept(**kept["kept"])})


def _network(facts: dict[str, Any]) -> ModelConfig:
    kept = facts["network"]
    keys = choices.own_keys("model", str(kept["kind"]))
    known = {each.name for each in fields(keys)} & set(kept)  # type: ignore[arg-type]
    merged = OmegaConf.merge(OmegaConf.structured(keys), {name: kept[name] for name in known})
    return cast(ModelConfig, OmegaConf.to_object(merged))


def _export(judge: Judge, inputs: Tensor, batch: dict[int, Any], facts: dict[str, Any]) -> bytes:
    import torch.export

    with torch.no_grad():
        program = torch.export.export(judge, (inputs,), dynamic_shapes=(batch,))
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about weights that lie channels-last
        torch.export.save(program, content, extra_files={FACTS: json.dumps(facts)})
    return content.getvalue()


def _exported(content: bytes) -> tuple[nn.Module, dict[str, Any]]:
    import torch.export

    extra = {FACTS: ""}
    program = torch.export.load(io.BytesIO(content), extra_files=extra)
    return program.module(), json.loads(extra[FACTS])


def _program(judge: Judge, path: Path, facts: dict[str, Any]) -> bytes:
    """The judge as the content of a file, which is run and compared with it.

    Raises:
        UserError: it cannot be exported, or the program says something else.
    """
    import torch.export

    together = judge.transductive or judge.apart
    inputs = (
        judge.support.expand(max(2, len(judge.support)), *judge.support.shape[1:])
        if together
        else judge.support[:1]
    )
    batch = {0: torch.export.Dim("batch", min=1)} if together else {}
    write, read = PROGRAMS[path.suffix]
    try:
        content = write(judge, inputs, batch, facts)
        program, _ = read(content)
        with torch.no_grad():
            apart = float((program(inputs).cpu() - judge(inputs).cpu()).abs().max())
    except Exception as error:  # a network may do what no graph can hold
        why = in_short(error)
        raise UserError(f"{path}: its export fails ({why}); expected NAME.pt") from error
    if not apart <= NEAR:
        raise UserError(f"{path}: the program is {apart:.1g} off; expected {NEAR:g} at most")
    return content


# By ending, what makes a file's content and what reads it.
PROGRAMS = {
    ".pt2": (_export, _exported),
    ".onnx": (to_onnx, of_onnx),
}
