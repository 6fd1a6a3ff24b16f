"""Prototypes of a picture that nothing learns: means of its tokens, found anew for every picture.

PGSeg (arXiv 2310.19001): expectation maximisation for a mixture with identity covariance, started
from a buffer that may follow what was found.

Shapes: B images, L tokens, S prototypes, C channels.
"""

import torch
from fvcore.nn.distributed import differentiable_all_reduce
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.modeling.layers.projector import Projector

#: Keeps a prototype without tokens, or a mean of zero, finite.
EPS = 1e-6


@torch.no_grad()
def estimate_prototypes(
    tokens: Tensor, buffer: Tensor, rounds: int = 10, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Prototypes of every sequence of tokens; no gradient, in float32 whatever autocast says.

    A round asks how much of each token is each prototype's (softmax over prototypes of their dot
    products), makes every prototype's weights sum to 1, and takes the weighted mean of the tokens,
    at unit length.

    Args:
        tokens: (B, L, C), of any length along C.
        buffer: (1, S, C), where the rounds start.
        rounds: how many, at least 1.
        mask: (B, L) bool, False where a token is padding, which weighs nothing whatever its value.

    Returns:
        (B, S, C) prototypes of unit length, 0 where no token is not padding or all are 0, and
        (B, L, S) weights of the last round, found with the prototypes of the round before; they
        sum to 1 along L.

    Raises:
        ValueError: for less than one round.
    """
    if rounds < 1:
        raise ValueError(f"rounds: expected at least 1 round of estimation, got {rounds}.")
    with torch.autocast(tokens.device.type, enabled=False):
        tokens, prototypes = tokens.float(), buffer.float()
        if mask is not None:
            tokens = tokens.masked_fill(~mask[..., None], 0.0)
        for _ in range(rounds):
            weights = (tokens @ prototypes.transpose(1, 2)).softmax(dim=-1)
            if mask is not None:
                weights = weights * mask[..., None]
            weights = weights / (EPS + weights.sum(dim=1, keepdim=True))
            means = weights.transpose(1, 2) @ tokens
            prototypes = means / (EPS + means.norm(dim=-1, keepdim=True))
    return prototypes, weights


@torch.no_grad()
def move_buffer(buffer: Tensor, prototypes: Tensor, momentum: float) -> None:
    """Let a buffer follow the mean prototypes of all images of all processes.

    Args:
        buffer: (1, S, C), changed in place.
        prototypes: (B, S, C) of this process's images, whose number may be another elsewhere.
        momentum: share of the buffer that stays, in [0, 1].
    """
    ones = prototypes.new_ones(len(prototypes), 1)
    sums = torch.cat((prototypes.flatten(1), ones), dim=1).sum(dim=0)
    sums = differentiable_all_reduce(sums)
    mean = (sums[:-1] / sums[-1]).view_as(buffer)
    buffer.lerp_(mean.to(buffer.dtype), 1 - momentum)


class ImagePrototypes(nn.Module):
    """Image prototypes, and what tokens made of them alone add to the tokens."""

    def __init__(
        self,
        count: int,
        dim: int,
        *,
        hidden: int = 4096,
        rounds: int = 10,
        momentum: float = 0.9,
        moves: bool = True,
    ):
        """Draw the buffer and build the map.

        Args:
            count: prototypes S, as many as there are groups to be told apart.
            dim: channels C.
            hidden: width of the map's middle.
            rounds: of the estimation.
            momentum: share of the buffer that stays in a step of training, in [0, 1].
            moves: whether the buffer follows the images in training. It never does in the released
                code, whose caller does not say that it trains.
        """
        super().__init__()
        self.rounds, self.momentum, self.moves = rounds, momentum, moves
        drawn = nn.init.normal_(torch.empty(1, count, dim), std=(2 / dim) ** 0.5)
        self.register_buffer("buffer", F.normalize(drawn, dim=-1))
        self.map = Projector(dim, hidden, dim)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate; in training the buffer follows, where it moves.

        Args:
            tokens: (B, L, C), which get no gradient from here.

        Returns:
            (B, L, C), to be added to the tokens, its gradient the map's alone, and (B, S, C)
            float32, prototypes without gradient.
        """
        prototypes, weights = estimate_prototypes(tokens, self.buffer, self.rounds)
        residual = self.map((weights @ prototypes).to(tokens.dtype))
        if self.training and self.moves:
            move_buffer(self.buffer, prototypes, self.momentum)
        return residual, prototypes
