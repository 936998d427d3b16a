"""`fewshot adapt`: a run adapted to a user's own classes; judges images, or keeps the model.

Raises UserError where the run, an option, an override, a folder or an image is wrong, before
anything is written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fewshot_cli.arguments import Overrides, Predictions, Run, Together
from fewshot_cli.runs.directory import shown
from fewshot_cli.settings.errors import UserError


def adapt(
    run: Run,
    support: Annotated[
        Path,
        typer.Option(
            "--support", metavar="DIR", help="A folder for each class, with an image or more."
        ),
    ],
    overrides: Overrides = None,
    query: Annotated[
        Path | None,
        typer.Option("--query", metavar="DIR", help="Images to judge.", show_default=False),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Adaptation steps; else chosen by cross-validation over the support folder.",
            show_default=False,
        ),
    ] = None,
    together: Together = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep the model: .pt for `fewshot predict`, .pt2 as a program of torch.export.",
            show_default=False,
        ),
    ] = None,
    out: Predictions = None,
) -> None:
    """Adapt a run to classes of your own, and judge images with it.

    The support folder may have more or fewer classes than the run's tasks had ways: MAML,
    first-order MAML, ANIL, Meta-SGD and Reptile then begin with a head whose rows are all the mean
    of those that they learned; fine-tuning always begins with a fresh one; prototypical networks
    need none. Where the query folder has the same folders of classes, the accuracy is shown.

    With two images or more of each class, cross-validation over the support folder chooses the
    number of steps and the inner rate; --steps and algo.inner_lr= set them.

    fewshot adapt outputs/runs/NAME --support SUPPORT --query QUERY

    fewshot adapt outputs/runs/NAME --support SUPPORT --save model.pt --steps 10 algo.inner_lr=0.4
    """
    if query is None:
        if save is None:
            raise UserError("nothing to do: expected --query DIR, --save FILE or both")
        if out is not None:
            raise UserError(f"--out {out}: nothing is judged; expected --query DIR too")
    from fewshot_cli import inference
    from fewshot_cli.inference import saved
    from fewshot_cli.inference.images import query_files
    from fewshot_cli.plots.judged import judge

    told = [f"algo.eval_steps={steps}"] if steps is not None else []
    told += [f"eval.transductive={together}"] if together is not None else []
    if save is not None:
        saved.check(save)
    if query is not None:
        query_files(query)
    model = inference.adapt(run, support, [*(overrides or []), *told])
    print(f"Adapted {shown(run)} to {len(model.classes)} classes")
    if model.chosen is not None:
        print(model.chosen)
    if query is not None:
        judge(model, query, support, out)
    if save is not None:
        saved.save(model, save)
        print(f"Next:  fewshot predict {shown(save)} DIR")
