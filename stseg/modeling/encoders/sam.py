"""SAM's image encoder, from the stock `segment_anything` package, frozen, at any square size.

Shapes: B images, S channels of SAM's neck (256; SAM-mini 128), H and W pixels, a cell for every
patch (16 pixels; SAM-mini 8).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam
from timm.layers import resample_abs_pos_embed_nhwc
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from stseg.checkpoint import LOADED_NEXT, RANDOM, read_state_dict
from stseg.modeling.encoders.freezing import train_only
from stseg.modeling.encoders.pixel_statistics import add_pixel_statistics
from stseg.modeling.encoders.sam_mini import build_sam_mini
from stseg.weights import resolve

logger = logging.getLogger(__name__)

PIXEL_MEAN = (123.675, 116.28, 103.53)  # of SAM, RGB in [0, 255]
PIXEL_STD = (58.395, 57.12, 57.375)


def create_sam(name: str, checkpoint: str = RANDOM) -> Sam:
    """Make a whole SAM on the CPU in float32.

    Args:
        name: "vit_b", "vit_l" or "vit_h", or "mini", the small one for drawn scenes.
        checkpoint: its .pth file, local or `stseg://`, of any float type; "random" for random
            weights, with a warning; `LOADED_NEXT` without one, for who loads a checkpoint
            next. A config has no such default.

    Raises:
        ValueError: for an unknown name, no file, or one that holds another model.
        FileNotFoundError: if the file does not exist.
    """
    builders = {**sam_model_registry, "mini": build_sam_mini}
    if name not in builders:
        raise ValueError(f"MODEL.SAM.NAME: expected one of {sorted(builders)}, got {name!r}.")
    check_sam_checkpoint(checkpoint)
    sam = builders[name]()
    if checkpoint == RANDOM:
        logger.warning("MODEL.SAM.CHECKPOINT is 'random': SAM %s has learnt nothing.", name)
    if checkpoint in (RANDOM, LOADED_NEXT):
        return sam
    state = read_state_dict(checkpoint, "MODEL.SAM.CHECKPOINT")
    try:
        sam.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"MODEL.SAM.CHECKPOINT: expected the weights of SAM {name!r}, got other keys or shapes "
            f"in {checkpoint!r}. Set MODEL.SAM.NAME to the file's model. First differences: "
            f"{str(error)[:300]}"
        ) from error
    return sam


def check_sam_checkpoint(checkpoint: str) -> None:
    """Refuse a SAM without a file, unless "random" is written out.

    Raises:
        ValueError: if none is named.
        FileNotFoundError: if it does not exist.
    """
    source = "Write weights://sam-vit-b, or another of `stseg weights list`, to have it fetched."
    if not checkpoint:
        raise ValueError(
            "MODEL.SAM.CHECKPOINT: expected SAM's file for DEA or for refining masks, got none: "
            f"its random weights are noise. {source} To try something out, write {RANDOM!r}."
        )
    if checkpoint not in (RANDOM, LOADED_NEXT) and not Path(resolve(checkpoint)).is_file():
        raise FileNotFoundError(
            f"MODEL.SAM.CHECKPOINT: expected a file, got {checkpoint!r}, which does not exist. "
            f"{source}"
        )


#: What an encoder gives by default: its neck's output.
NECK = "sam"


class SAMImageEncoder(nn.Module):
    """ViT image encoder of SAM: frozen but for what shall train, always in evaluation mode."""

    def __init__(
        self,
        encoder: ImageEncoderViT,
        *,
        input_size: int = 1024,
        outputs: Sequence[str] = (NECK,),
        trained: Sequence[str] = (),
    ):
        """Wrap an encoder.

        Args:
            encoder: `Sam.image_encoder`.
            input_size: side in pixels to which images are resized, a multiple of the encoder's
                patch size. SAM was trained at 1024 (SAM-mini at 128); smaller is faster and has
                its positions interpolated (768 suits the paper's crop).
            outputs: what `forward` gives: "sam" is the neck's output, "global_0" and on the
                residual stream after each block with global attention.
            trained: parameters of the encoder that train, such as "pos_embed"; only with some of
                them does `forward` keep a gradient.

        Raises:
            ValueError: if `input_size` is no positive multiple of the patch size, or an output or a
                parameter does not exist.
        """
        super().__init__()
        self.patch_size = encoder.patch_embed.proj.stride[0]
        if input_size <= 0 or input_size % self.patch_size:
            raise ValueError(
                f"MODEL.SAM.INPUT_SIZE: expected a positive multiple of {self.patch_size} pixels, "
                f"got {input_size}."
            )
        known = (NECK, *(f"global_{i}" for i in range(len(global_blocks(encoder)))))
        if not outputs or not set(outputs) <= set(known):
            raise ValueError(f"outputs: expected some of {known}, got {tuple(outputs)}.")
        train_only(encoder, trained, "SAM's image encoder")
        self.encoder, self.outputs, self.trains = encoder, tuple(outputs), bool(trained)
        self.input_size = input_size
        self._ask: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor] | None = None
        add_pixel_statistics(self, PIXEL_MEAN, PIXEL_STD)

    def train(self, mode: bool = True) -> "SAMImageEncoder":
        """Stay in evaluation mode whatever the rest of the model does."""
        del mode
        return super().train(False)

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each output."""
        neck, width = self.encoder.neck[-1].weight, self.encoder.patch_embed.proj.weight
        return {
            name: ShapeSpec(
                channels=(neck if name == NECK else width).shape[0], stride=self.patch_size
            )
            for name in self.outputs
        }

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Encode a batch.

        Args:
            images: (B, 3, H, W) RGB in [0, 255] of any size; resized to the square input size.

        Returns:
            What was asked for, each (B, S, n, n) with n = input size / patch size.
        """
        size = (self.input_size, self.input_size)
        if images.shape[-2:] != size:
            images = F.interpolate(
                images, size=size, mode="bilinear", align_corners=False, antialias=True
            )
        images = (images - self.pixel_mean) / self.pixel_std
        if self.outputs == (NECK,) and not self.trains:
            return {NECK: self._encode(images)}
        with torch.set_grad_enabled(self.trains and torch.is_grad_enabled()):
            return self._through_blocks(images)

    @torch.no_grad()
    def encode_padded(self, image: Tensor) -> Tensor:
        """Encode one image with its aspect kept, as SAM was trained.

        Args:
            image: (3, H, W) RGB in [0, 255]; its long side is resized to the input size, the rest
                is padded right and below with zeros after normalisation.

        Returns:
            (1, S, n, n).
        """
        scale = self.input_size / max(image.shape[-2:])
        size = tuple(max(1, int(side * scale + 0.5)) for side in image.shape[-2:])
        scaled = F.interpolate(
            image[None].float(), size=size, mode="bilinear", align_corners=False, antialias=True
        )
        scaled = (scaled - self.pixel_mean) / self.pixel_std
        return self._encode(
            F.pad(scaled, (0, self.input_size - size[1], 0, self.input_size - size[0]))
        )

    @contextmanager
    def asking(self, ask: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]) -> Iterator[None]:
        """Inside, embeddings come from somebody who may know them without computing.

        Args:
            ask: images (B, 3, input size, input size), normalised, and the function that encodes
                such images -> (B, S, n, n).
        """
        self._ask = ask
        try:
            yield
        finally:
            self._ask = None

    @torch.no_grad()
    def _encode(self, images: Tensor) -> Tensor:
        return self._compute(images) if self._ask is None else self._ask(images, self._compute)

    def _compute(self, images: Tensor) -> Tensor:
        return functional_call(self.encoder, {"pos_embed": self._positions()}, (images,))

    def _positions(self) -> Tensor:
        side = self.input_size // self.patch_size
        return _positions_for(self.encoder, [side, side])

    def _through_blocks(self, images: Tensor) -> dict[str, Tensor]:
        maps, last = after_global_blocks(self.encoder, images)
        found = {f"global_{i}": x for i, x in enumerate(maps)}
        if NECK in self.outputs:
            found[NECK] = self.encoder.neck(last)
        return {name: found[name] for name in self.outputs}


def _positions_for(encoder: ImageEncoderViT, grid: list[int]) -> Tensor:
    """(1, h, w, C); those relative ones inside the blocks SAM interpolates itself."""
    return resample_abs_pos_embed_nhwc(encoder.pos_embed, grid, antialias=False)


def global_blocks(encoder: ImageEncoderViT) -> list[int]:
    """Which of SAM's blocks look at the whole picture; the others see windows of it."""
    return [i for i, block in enumerate(encoder.blocks) if block.window_size == 0]


def after_global_blocks(encoder: ImageEncoderViT, images: Tensor) -> tuple[list[Tensor], Tensor]:
    """SAM's own forward up to the neck, with what lies between its blocks.

    Args:
        encoder: `Sam.image_encoder`; positions are resized for the call.
        images: (B, 3, H, W), normalised, of any size.

    Returns:
        The residual stream after each of `global_blocks` and after the last block, each
        (B, C, h, w) with a cell for every whole patch.
    """
    x = encoder.patch_embed(images)
    x = x + _positions_for(encoder, list(x.shape[1:3]))
    maps = []
    for block in encoder.blocks:
        x = block(x)
        if block.window_size == 0:
            maps.append(x.permute(0, 3, 1, 2))
    return maps, x.permute(0, 3, 1, 2)


def build_sam_encoder(cfg: CfgNode) -> SAMImageEncoder:
    """The frozen encoder of `MODEL.SAM.*`; SAM's other parts are dropped."""
    sam = create_sam(cfg.MODEL.SAM.NAME, cfg.MODEL.SAM.CHECKPOINT)
    return SAMImageEncoder(sam.image_encoder, input_size=cfg.MODEL.SAM.INPUT_SIZE)


def decoder_parts(sam: Sam, input_size: int) -> tuple[PromptEncoder, MaskDecoder]:
    """SAM's prompt encoder and mask decoder, frozen, for images at another input size.

    None of their parameters depends on the size; the prompt encoder is a copy that knows it.

    Args:
        sam: a whole SAM, left as it is but for its decoder, which is shared and frozen.
        input_size: side in pixels of the images that were encoded, see `SAMImageEncoder`.

    Raises:
        ValueError: if `input_size` is no positive multiple of the patch size.
    """
    patch_size = sam.image_encoder.patch_embed.proj.stride[0]
    if input_size <= 0 or input_size % patch_size:
        raise ValueError(
            f"MODEL.SAM.INPUT_SIZE: expected a positive multiple of {patch_size} pixels, "
            f"got {input_size}."
        )
    side = input_size // patch_size
    prompt_encoder = deepcopy(sam.prompt_encoder).float()  # its positions fail in half precision
    prompt_encoder.input_image_size = (input_size, input_size)
    prompt_encoder.image_embedding_size = (side, side)
    prompt_encoder.mask_input_size = (4 * side, 4 * side)
    return (
        prompt_encoder.requires_grad_(False).eval(),
        sam.mask_decoder.requires_grad_(False).eval(),
    )
