"""Losses that learn an order: of the items of a list, or of the two of a pair."""

from lossbench.components.declarations import Identity
from lossbench.components.vocabulary import Positive
from lossbench.lazy import Tensor, torch
from lossbench.registry import loss


@loss(
    target=("zero_one", "count", "distribution"),
    prediction="scores",
    aliases=("listnet",),
    identities=(Identity("cross_entropy"),),
)
def ranking_softmax(prediction: Tensor, target: Tensor) -> Tensor:
    """Put the relevant items of a list on top.

    Formula:    -sum_i y_i ln softmax(x)_i, with x = prediction, y = target (relevance)
    Derivative: (sum_j y_j) softmax(x) - y
    Shapes:     prediction [N, L] (scores of L items), target [N, L] (relevance, 0 or more) -> [N];
                or one list [L] -> []
    Range:      [0, inf)
    Note:       a list without a relevant item costs nothing. It is cross_entropy with relevances in
                place of probabilities: they need not add up to 1.
    Reference:  Cao et al., Learning to Rank: From Pairwise Approach to Listwise Approach, 2007.
    """
    return -(target * torch.log_softmax(prediction, -1)).sum(-1)


@loss(
    inputs={"input1": "scores", "input2": "scores"},
    aliases=("bpr", "bayesian_personalized_ranking"),
)
def ranknet(input1: Tensor, input2: Tensor, *, sigma: Positive = 1.0) -> Tensor:
    """Surprise, in nats, that the first of two items is the better one.

    Formula:    ln(1 + e^(-sigma (input1 - input2)))
    Derivative: by input1: -sigma sigmoid(-sigma (input1 - input2)); by input2 the opposite
    Shapes:     input1 [N, ...] (scores of the better items), input2 [N, ...] -> [N, ...]
    Range:      [0, inf)
    Knobs:
        sigma: how fast a difference of scores becomes certainty.
    Note:       it is logistic of sigma (input1 - input2) with the target 1. BPR is the same, with a
                user's scores for an item that was chosen and one that was not.
    Reference:  Burges et al., Learning to Rank using Gradient Descent, 2005; Rendle et al., BPR:
                Bayesian Personalized Ranking from Implicit Feedback, 2009.
    """
    gap = -sigma * (input1 - input2)
    return torch.logaddexp(torch.zeros_like(gap), gap)
