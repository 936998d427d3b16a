"""`fewshot adapt`: a run adapted to a user's own classes; judges images, or keeps the model.

Raises UserError where the run, an option, an override, a folder or an image is wrong, before
anything is written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fewshot_cli.arguments import Json, Overrides, Predictions, Together
from fewshot_cli.runs import as_json
from fewshot_cli.runs.directory import shown
from fewshot_cli.settings.errors import UserError


def adapt(
    run: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN]",
            help="A run directory; none: a pretrained backbone.",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    support: Annotated[
        Path,
        typer.Option(
            "--support",
            metavar="DIR|FILE",
            help="A folder for each class, with an image or more; for a run on a table, a table.",
        ),
    ] = ...,  # type: ignore[assignment]
    query: Annotated[
        Path | None,
        typer.Option(
            "--query", metavar="DIR|FILE", help="Images or rows to judge.", show_default=False
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Adaptation steps; else chosen by cross-validation over the support folder.",
            show_default=False,
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of timm, pretrained, without a run; else EfficientNet-Lite0.",
            show_default=False,
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="ncm|ridge|logistic",
            help="Without a run; else the best by leave-one-out.",
            show_default=False,
        ),
    ] = None,
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Without a run: move all weights too.")
    ] = False,
    together: Together = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep the model: .pt for `fewshot predict`, .pt2 as a program of torch.export, "
            ".onnx for onnxruntime.",
            show_default=False,
        ),
    ] = None,
    out: Predictions = None,
    json: Json = None,
) -> None:
    """Adapt a pretrained backbone, or a run, to classes of your own, and judge images with it.

    fewshot adapt --support SUPPORT --query QUERY

    Without a run, an ImageNet network looks at your images, and the head that suits them best is
    chosen by leave-one-out. With a run, what it learned is adapted.

    The support folder may have more or fewer classes than the run's tasks had ways: MAML,
    first-order MAML, ANIL, Meta-SGD and Reptile then begin with a head whose rows are all the mean
    of those that they learned; fine-tuning always begins with a fresh one; prototypical networks
    need none. Where the query folder has the same folders of classes, the accuracy is shown.

    With two images or more of each class, cross-validation over the support folder chooses the
    number of steps and the inner rate; --steps and algo.inner_lr= set them.

    fewshot adapt outputs/runs/NAME --support SUPPORT --query QUERY

    fewshot adapt outputs/runs/NAME --support SUPPORT --save model.pt --steps 10 algo.inner_lr=0.4

    Of a run on a table, SUPPORT and QUERY are tables: rows of your own classes, or of one task.

    fewshot adapt outputs/runs/NAME --support mine.csv --query more.csv
    """
    if query is None:
        if save is None:
            raise UserError("nothing to do: expected --query, --save FILE or both")
        if out is not None:
            raise UserError(f"--out {out}: nothing is judged; expected --query too")
        if json is not None:
            raise UserError(f"--json {json}: nothing is judged; expected --query too")
    from fewshot_cli import inference
    from fewshot_cli.inference import saved
    from fewshot_cli.inference.rows import check_query
    from fewshot_cli.plots.judged import judge

    if run is not None and "=" in str(run) and not run.exists():  # the first override
        run, overrides = None, [str(run), *(overrides or [])]
    if run is None and (steps is not None or together is not None):
        raise UserError("--steps, --transductive: are of a run; expected `fewshot adapt RUN ...`")
    if run is not None and (backbone or head or finetune):
        raise UserError("--backbone, --head, --finetune: go without a run; expected no RUN")
    told = [f"algo.eval_steps={steps}"] if steps is not None else []
    told += [f"eval.transductive={together}"] if together is not None else []
    if save is not None:
        saved.check(save)
    if query is not None:
        check_query(query)
    told = [*(overrides or []), *told]
    model = inference.adapt(run, support, told, backbone=backbone, head=head, finetune=finetune)
    what = "the backbone" if run is None else shown(run)
    to = f"{len(model.classes)} classes" if model.classes else "the support rows"
    said = None
    with as_json.in_place(json):
        print(f"Adapted {what} to {to}")
        if model.chosen is not None:
            print(model.chosen)
        if query is not None:
            said = judge(model, query, support, out) | {"chosen": model.chosen}
        if save is not None:
            saved.save(model, save)
            query_of = "FILE" if isinstance(model, inference.RowModel) else "DIR"
            print(f"Next:  fewshot predict {shown(save)} {query_of}")
    as_json.leave(json, said)
