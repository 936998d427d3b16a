"""Ridge regression to targets or one-hot labels, without meta-training, in closed form.

    W = argmin |X W^T - Y|^2 + lambda |W|^2  =  Y^T (X X^T + lambda I)^-1 X

X are the features of a support set and Y its labels (Bertinetto et al. 2019, R2-D2, equation 6: the
second form inverts a matrix of as many rows as there are examples, not features). lambda is
`penalty` times the mean of |x|^2, so that it means the same for features of any length. Targets
get an intercept, which is not pulled to 0: X and Y are less their means.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fewshot_cli.algorithms.ncm import NearestMean
from fewshot_cli.settings.schema import AlgoConfig


@dataclass
class RidgeConfig(AlgoConfig):
    by_way = True
    meta_trains = False


class Ridge(NearestMean):
    def fitted(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if labels.is_floating_point():
            return self._to_targets(features, labels if labels.dim() == 3 else labels[..., None])
        targets = functional.one_hot(labels).to(features)
        weight = self._solved(features, targets)
        return weight, weight.new_zeros(weight.shape[:2])

    def _to_targets(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        of_x, of_y = features.mean(1, keepdim=True), targets.mean(1, keepdim=True)
        # Doubles, since more rows than features leave a matrix that floats take for singular.
        weight = self._solved((features - of_x).double(), (targets - of_y).double()).to(features)
        return weight, (of_y - of_x @ weight.mT)[:, 0]

    def _solved(self, features: Tensor, targets: Tensor) -> Tensor:
        """W for `[T, B, D]` and `[T, B, N]`."""
        gram = features @ features.mT
        mean = gram.diagonal(dim1=1, dim2=2).mean(1)
        pull = self.config.penalty * mean[:, None, None] * torch.eye(gram.shape[1]).to(gram)
        weight: Tensor = torch.linalg.solve(gram + pull, targets).mT @ features
        return weight
