"""Multinomial logistic regression on the features of a support set, without meta-training.

    W = argmin  sum over the support set of  CE(W f(x), y)  +  lambda / 2 |W|^2

The best W is a combination of the support set's features (the representer theorem), W = A^T X, so
that the search goes over one number for each example and class. It is Nesterov's, for a strongly
convex loss (Nesterov 2004, scheme 2.2.11), with the step and momentum that the features' Gram
matrix gives. lambda is `penalty` times the mean of |x|^2, so that it means the same for features of
any length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fewshot_cli.algorithms.ncm import NearestMean
from fewshot_cli.settings.schema import AlgoConfig

NEAR = 1e-6  # the largest entry of the gradient at which a task's search ends
MOST_STEPS = 2000


@dataclass
class LogisticConfig(AlgoConfig):
    classifies = True
    by_way = True
    meta_trains = False


class Logistic(NearestMean):
    def fitted(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        lengths = features.square().sum(-1).mean(1).sqrt()[:, None, None]
        weight = minimum(features / lengths, labels, self.config.penalty) / lengths
        return weight, weight.new_zeros(weight.shape[:2])


def minimum(x: Tensor, labels: Tensor, penalty: float) -> Tensor:
    """W of the loss above for T tasks, `[T, N, D]`; each task ends by itself, whatever others do.

    Args:
        x: `[T, B, D]`.
        labels: `[T, B]`.
    """
    targets = functional.one_hot(labels).to(x)
    gram = x @ x.mT
    # Half the largest eigenvalue bounds the curvature of the cross-entropy (Boehning 1992).
    steepest = torch.linalg.matrix_norm(gram, ord=2)[:, None, None] / 2 + penalty
    momentum = (steepest.sqrt() - penalty**0.5) / (steepest.sqrt() + penalty**0.5)
    before = ahead = torch.zeros_like(targets)
    for _ in range(MOST_STEPS):
        # Of the loss by W it is slope^T x, which is 0 where the slope is.
        slope = (gram @ ahead).softmax(-1) - targets + penalty * ahead
        goes_on = slope.abs().amax((1, 2), keepdim=True) > NEAR
        if not goes_on.any():
            break
        now = ahead - slope / steepest
        ahead = torch.where(goes_on, now + momentum * (now - before), ahead)
        before = torch.where(goes_on, now, before)
    return ahead.mT @ x
