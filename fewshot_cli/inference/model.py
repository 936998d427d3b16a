"""An adapted network with all that it needs to judge images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from fewshot_cli.inference.images import Decoded, Form, batches, joined, query_files
from fewshot_cli.inference.least_sure import LeastSure
from fewshot_cli.inference.predictions import Predictions
from fewshot_cli.inference.unlike import Unlike
from fewshot_cli.models import Network
from fewshot_cli.settings.errors import UserError
from fewshot_cli.settings.schema import ModelConfig, Statistics
from fewshot_cli.stacked.statistics import LeadingStatistics


class Judge(nn.Module):
    """float `[B, C, S, S]` in 0..1 to the probabilities of the classes, `[B, N]`.

    Rows of a table, `[B, ...]`, take the place of images, and where `numbers` are predicted, these
    that of probabilities.

    Batch norm by a batch's statistics lets its images see one another. Transductive: all B images
    are one batch. If not, B is 1, and the image is in a batch with the support set, as in
    `training.evaluation.predict`. By other statistics no image sees another, whatever B is.
    """

    support: Tensor

    def __init__(
        self, net: Network, support: Tensor, transductive: bool, numbers: bool = False
    ) -> None:
        super().__init__()
        self.net, self.transductive, self.numbers = net, transductive, numbers
        self.needs_support = net.statistics is not Statistics.frozen
        self.register_buffer("support", support if self.needs_support else support[:1].clone())

    @property
    def apart(self) -> bool:
        """Whether no image sees another."""
        return self.net.statistics is not Statistics.batch

    def forward(self, images: Tensor) -> Tensor:
        outputs = self._outputs(images)
        return outputs if self.numbers else outputs.softmax(-1)

    def _outputs(self, images: Tensor) -> Tensor:
        net = cast(Callable[[Tensor], Tensor], self.net)
        statistics = self.net.statistics
        if statistics is Statistics.frozen or (self.transductive and not self.apart):
            return net(images)
        together = torch.cat([self.support, images])
        if statistics is Statistics.support:
            with LeadingStatistics(len(self.support)):
                return net(together)[len(self.support) :]
        return net(together)[-1:]


@dataclass(frozen=True)
class Model:
    """What `adapt` and `load` give.

    Attributes:
        judge: a `Judge`, or the exported program of one.
        network: which model the judge's network is.
        classes: the names of the N support folders.
        transductive: the images of a query folder are judged all in one batch, or one by one.
        apart: whatever the batch, no image sees another.
        chosen: lines that say what `adapt` chose, and why; None where nothing was to choose.
        unlike: tells images that are of no class; None where that cannot be told.
    """

    judge: Callable[[Tensor], Tensor]
    network: ModelConfig
    classes: list[str]
    form: Form
    transductive: bool
    device: torch.device
    apart: bool = False
    chosen: str | None = None
    unlike: Unlike | None = None

    def probabilities(self, images: Tensor) -> Tensor:
        """uint8 `[B, C, S, S]` to `[B, N]`, whose rows add up to 1."""
        pixels = images.to(self.device).float() / 255
        return outputs_of(self.judge, pixels, self.transductive or self.apart)

    def judged(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """The probabilities, and how far from every class an image is, `[B]` (see unlike.py)."""
        if self.unlike is None or not isinstance(self.judge, Judge):
            return self.probabilities(images), None
        net = self.judge.net
        with torch.no_grad():
            features = net.body(images.to(self.device).float() / 255)
            said = net.head(features).softmax(-1)
        return said.cpu(), self.unlike.distances(features).cpu()

    def predict(self, query: str | Path) -> Predictions:
        """Judge all images below a folder, or one image file.

        Unless the images are judged all in one batch, no more than a few are in memory.

        Raises:
            UserError: there is no image that can be decoded.
        """
        root = Path(query)
        files, judged, sheet = list[Path](), list[Tensor](), LeastSure()
        distances: list[Tensor] = []
        faults = dict[Path, str]()
        for batch in self._batches(query_files(root)):
            faults |= batch.faults
            if batch.files:
                files += batch.files
                said, far = self.judged(batch.images)
                judged.append(said)
                distances += [] if far is None else [far]
                sheet.add(255 - batch.images if self.form.invert else batch.images, judged[-1])
        if not files:
            file, why = next(iter(faults.items()))
            raise UserError(f"{file}: expected an image ({why})")
        below = root.parent if root.is_file() else root
        return Predictions(
            [file.relative_to(below).as_posix() for file in files],
            sheet.thumbnails,
            torch.cat(judged),
            self.classes,
            {file.relative_to(below).as_posix(): why for file, why in faults.items()},
            torch.cat(distances) if distances else None,
        )

    @property
    def way(self) -> str:
        """How the images of a query folder are judged, in words."""
        return way_of(self.apart, self.transductive)

    def _batches(self, files: list[Path]) -> Iterable[Decoded]:
        """Query images that are judged before the next ones are decoded."""
        if self.transductive and not self.apart:
            return [joined(batches(files, self.form, "Decoding the images"))]
        return batches(files, self.form, "Judging the images")

    def judging(self, transductive: bool) -> Model:
        """The same model, which judges images all in one batch, or one by one.

        Raises:
            UserError: it is a program, made for one way.
        """
        if transductive == self.transductive:
            return self
        judge = judging_by(self.judge, transductive, "images")
        return replace(self, judge=judge, transductive=transductive)


def outputs_of(judge: Callable[[Tensor], Tensor], inputs: Tensor, together: bool) -> Tensor:
    """What a judge says of `[B, ...]`, `[B, N]`: of all at once, or of one after the other."""
    with torch.no_grad():
        return torch.cat(
            [judge(batch) for batch in ([inputs] if together else inputs.split(1))]
        ).cpu()


def way_of(apart: bool, transductive: bool) -> str:
    """How queries are judged, in words."""
    if apart:
        return "each by itself"
    return "all in one batch" if transductive else "each alone with the support set"


def judging_by(judge: Callable[[Tensor], Tensor], transductive: bool, what: str) -> Judge:
    """The judge of queries all in one batch, or one by one, from one of the other way.

    Raises:
        UserError: it is a program, made for one way.
    """
    if not isinstance(judge, Judge):
        way = f"{what} one by one" if transductive else f"all {what} together"
        raise UserError(f"the program judges {way}; expected a model saved as .pt")
    return Judge(judge.net, judge.support, transductive, judge.numbers)
