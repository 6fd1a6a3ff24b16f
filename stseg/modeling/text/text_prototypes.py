"""What captions are about, without learning: means that their words gather around.

PGSeg's text level (NeurIPS 2023). Its paper was not at hand, and its code (9f167cd) does something
else than it seems to mean, so there are two forms:

- "intended": the words of a caption are samples in the text tower's channels, and group centres are
  mapped to these.
- "released": the channels of the caption's feature are samples, numbers; so are the prototypes, and
  a group centre becomes its mean over channels. Cosines of numbers are signs: the loss has no
  gradient to the centres.

Shapes: B captions, L tokens, S prototypes, C channels: of the text tower, or 1 where released.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stseg.config import check
from stseg.modeling.layers import Projector, estimate_prototypes, move_buffer
from stseg.modeling.text.caption_encoder import CaptionFeatures

_TINY = 1e-6  # added to a length


class TextPrototypes(nn.Module):
    """Prototypes of each caption, found from a buffer that follows those of all captions."""

    def __init__(
        self,
        *,
        width: int,
        centre_width: int,
        hidden: int = 4096,
        count: int = 8,
        form: str = "intended",
        momentum: float = 0.9,
        rounds: int = 10,
    ):
        """Draw the buffer; the defaults are PGSeg's.

        Args:
            width: channels of the text tower.
            centre_width: channels of group centres.
            hidden: channels between the two layers of the map from `centre_width` to `width`, which
                published files hold untrained; the form "released" has none.
            count: S.
            form: "intended" or "released", see this file.
            momentum: share of the buffer that stays in a step of training, in [0, 1].
            rounds: of estimation, from the buffer.

        Raises:
            ValueError: for an unknown form.
        """
        super().__init__()
        self.form = check("MODEL.PGSEG.PROTOTYPES.FORM", form)
        self.momentum, self.rounds = momentum, rounds
        if form == "released":
            self.map, drawn = None, F.normalize(torch.randn(1, count, 1), dim=1)
        else:
            self.map = Projector(centre_width, hidden, width)
            drawn = F.normalize(torch.randn(1, count, width), dim=2)
        self.register_buffer("buffer", drawn)

    @torch.no_grad()
    def forward(self, captions: CaptionFeatures) -> Tensor:
        """Find the prototypes of each caption; in training the buffer moves towards them.

        The released code moves its buffer in evaluation, too.

        Returns:
            (B, S, C) float32 without gradient, whatever autocast says: each of unit length, or
            where released the S numbers together.
        """
        if self.form == "released":
            found = self._of_numbers(captions.features)
        else:
            found, _ = estimate_prototypes(
                captions.words, self.buffer, self.rounds, mask=captions.mask
            )
        if self.training:
            move_buffer(self.buffer, found, self.momentum)
        return found

    def map_centres(self, centres: Tensor) -> Tensor:
        """Group centres (B, G, centre_width) as (B, G, C), to be compared with the prototypes."""
        return centres.mean(-1, keepdim=True) if self.map is None else self.map(centres)

    def _of_numbers(self, features: Tensor) -> Tensor:
        """(B, S, 1) of features (B, width)."""
        tokens = features[:, :, None].float()
        found = self.buffer.float().expand(len(tokens), -1, -1)
        with torch.autocast(tokens.device.type, enabled=False):
            for _ in range(self.rounds):
                # What a round finds is of unit length each, signs here; its weights are of use.
                _, weights = estimate_prototypes(tokens, found, 1)
                found = weights.mT @ tokens
                found = found / (found.norm(dim=1, keepdim=True) + _TINY)
        return found
