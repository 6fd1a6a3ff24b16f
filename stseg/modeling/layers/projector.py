"""Two linear layers with BatchNorm between them, whose statistics are those of all processes.

PGSeg (arXiv 2310.19001) ends both encoders in one, and maps image prototypes by one. Detectron2's
`NaiveSyncBatchNorm` is not used: it takes the variance as a difference of two squares, which is
NaN for a channel that hardly varies, and keeps the biased one, which differs from one process's.
"""

import torch
from detectron2.utils import comm
from fvcore.nn.distributed import differentiable_all_gather
from torch import Tensor, nn
from torch.nn import functional as F


class JointBatchNorm(nn.BatchNorm1d):
    """BatchNorm over the rows of all processes: several of them learn as one does.

    Each process may have another number of rows, at least one. In one process, and in evaluation,
    this is `nn.BatchNorm1d`, but that a single row, which has no variance, is normed as in
    evaluation.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise rows (N, C)."""
        if not self.training or comm.get_world_size() == 1:
            if len(x) > 1:
                return super().forward(x)
            mean, variance = self.running_mean, self.running_var
            return F.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)
        rows = x.float()
        variance, mean = torch.var_mean(rows, dim=0, correction=0)
        own = torch.stack((torch.full_like(mean, len(rows)), mean, variance))
        count, means, variances = torch.stack(list(differentiable_all_gather(own))).unbind(1)
        total = count.sum(0)
        mean = (count * means).sum(0) / total
        variance = (count * (variances + (means - mean).square())).sum(0) / total
        self._move(mean.detach(), variance.detach() * total / (total - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return ((rows - mean) * scale + self.bias).to(x.dtype)

    def _move(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


class Projector(nn.Module):
    """Linear layer, BatchNorm, ReLU, linear layer."""

    def __init__(self, in_dim: int, hidden: int, out_dim: int):
        """Build the layers.

        Args:
            in_dim: channels that come in.
            hidden: channels between the layers (PGSeg: 4096).
            out_dim: channels that go out.
        """
        super().__init__()
        self.hidden = nn.Linear(in_dim, hidden)
        self.norm = JointBatchNorm(hidden)
        self.out = nn.Linear(hidden, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Project vectors (..., C); in training their statistics are of all of them."""
        hidden = self.hidden(x)
        normed = self.norm(hidden.flatten(0, -2)).view_as(hidden)
        return self.out(F.relu(normed))
