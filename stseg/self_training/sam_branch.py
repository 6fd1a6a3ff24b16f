"""SAM's part in making labels, as a config asks for it."""

from detectron2.config import CfgNode
from torch import nn

from stseg.modeling.encoders import SAMImageEncoder, create_sam, decoder_parts
from stseg.self_training.labeler import SamBranch, own_sam_encoder
from stseg.self_training.refiner import PromptSettings
from stseg.self_training.region_vote import RegionSettings


def region_settings(cfg: CfgNode) -> RegionSettings:
    """How SAM cuts an image into regions of its own."""
    refine = cfg.SELF_TRAINING.REFINE
    return RegionSettings(
        points_per_side=refine.REGION_VOTE.POINTS_PER_SIDE, batch_size=refine.BATCH_SIZE
    )


def build_sam_branch(cfg: CfgNode, model: nn.Module) -> SamBranch:
    """SAM's decoder as SELF_TRAINING.REFINE.* asks for it, on the model's device.

    The image encoder is the model's own where that serves.
    """
    refine = cfg.SELF_TRAINING.REFINE
    sam, size = create_sam(cfg.MODEL.SAM.NAME, cfg.MODEL.SAM.CHECKPOINT), cfg.MODEL.SAM.INPUT_SIZE
    device = next(model.parameters()).device
    prompt_encoder, mask_decoder = decoder_parts(sam, size)
    parts = [part.to(device) for part in (prompt_encoder, mask_decoder)]
    encoder = own_sam_encoder(model)
    if encoder is None:
        encoder = SAMImageEncoder(sam.image_encoder, input_size=size).to(device).eval()
    return SamBranch(
        encoder,
        *parts,
        prompts=PromptSettings(
            kinds=tuple(refine.PROMPTS),
            batch_size=refine.BATCH_SIZE,
            min_iou_with_initial=refine.MIN_IOU,
        ),
        frame=refine.FRAME,
        vote=region_settings(cfg) if refine.REGION_VOTE.ENABLED else None,
        purity=refine.REGION_VOTE.PURITY,
    )
