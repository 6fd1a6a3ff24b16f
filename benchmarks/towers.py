"""Which towers of open_clip become dense encoders, what they give, and what a picture costs.

Every architecture of the list is built at its real size with random weights, one after the other,
and encodes one picture of about 256 x 320 pixels (to the next multiple of its coarsest stride).
Columns:
    weights        million parameters of the image tower
    dense, stages  channels / stride
    seconds        of the picture, the best of `--repeats`
    prompts        "tree": beginnings that they share are computed once; "whole": they are not;
                   with "+ transformers" where the tokenizer needs that package
Then the image towers of all architectures that open_clip knows are built without memory, to count
who is refused.

Example:
    python -m benchmarks.towers --threads 1 --json output/towers.json
"""

import argparse
import sys
import time
from pathlib import Path

from benchmarks.report_file import markdown_table, origin, write_report

NAMES = (
    *("convnext_base_w_320", "convnext_large_d_320", "ViT-B-16", "ViT-L-14-336", "ViT-L-14-CLIPA"),
    *("ViT-B-16-SigLIP", "ViT-B-16-SigLIP2-256", "PE-Core-T-16-384", "PE-Core-B-16", "EVA02-B-16"),
    *("MobileCLIP-S1", "MobileCLIP-S2", "MobileCLIP-B", "ViTamin-S", "RN50", "coca_ViT-B-32"),
    *("swin_base_patch4_window7_224", "vit_relpos_medium_patch16_cls_224"),
    *("roberta-ViT-B-32", "xlm-roberta-base-ViT-B-32", "nllb-clip-base"),
)


def measure(name: str, repeats: int) -> dict:
    """The row of an architecture; {"name", "refused"} if it is."""
    import open_clip
    import torch

    from stseg.modeling.encoders import create_clip, wrap_image_tower
    from stseg.modeling.text import CLIPTextEncoder

    try:
        clip = create_clip(name)
        encoder = wrap_image_tower(clip.visual).eval()
    except ValueError as error:
        return {"name": name, "refused": str(error)}
    shapes = encoder.output_shape()
    stride = max(shape.stride for shape in shapes.values())
    size = [-(-side // stride) * stride for side in (256, 320)]
    images, seconds = torch.rand(1, 3, *size) * 255, []
    with torch.no_grad():
        for _ in range(1 + repeats):
            start = time.perf_counter()
            out = encoder(images)
            seconds.append(time.perf_counter() - start)
    trunk = getattr(clip.visual, "trunk", clip.visual)
    tower = CLIPTextEncoder(clip, open_clip.tokenize).tower
    prompts = "tree" if tower.shares_prefixes else "whole"
    if open_clip.get_model_config(name)["text_cfg"].get("hf_tokenizer_name"):
        prompts += " + transformers"
    return {
        "name": name,
        "family": f"{type(encoder).__name__} of {type(trunk).__name__}",
        "million_weights": sum(x.numel() for x in encoder.parameters()) / 1e6,
        "shapes": {key: [shape.channels, shape.stride] for key, shape in shapes.items()},
        "finite": all(bool(x.isfinite().all()) for x in out.values()),
        "size": size,
        "seconds": min(seconds[1:]),
        "prompts": prompts,
    }


def count_every() -> dict:
    """How many architectures of open_clip have an image tower that is taken, and why others not."""
    import open_clip
    import torch
    from open_clip.model import CLIPVisionCfg, _build_vision_tower

    from stseg.modeling.encoders import wrap_image_tower

    built, refused, transformers = 0, {}, {"text tower": 0, "tokenizer only": 0}
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        with torch.device("meta"):
            visual = _build_vision_tower(config["embed_dim"], CLIPVisionCfg(**config["vision_cfg"]))
        try:
            wrap_image_tower(visual)
            built += 1
        except ValueError as error:
            refused[name] = str(error)
        text = config["text_cfg"]
        transformers["text tower"] += "hf_model_name" in text
        transformers["tokenizer only"] += (
            "hf_tokenizer_name" in text and "hf_model_name" not in text
        )
    return {"built": built, "refused": refused, "need_transformers": transformers}


def show(rows: list[dict], every: dict | None) -> None:
    """Print the table."""
    cells, refused = [], []
    for row in rows:
        if "refused" in row:
            refused.append(f"{row['name']}: {row['refused']}")
            continue
        shapes = {key: f"{channels}/{stride}" for key, (channels, stride) in row["shapes"].items()}
        dense, stages = shapes.pop("dense"), list(shapes.values())
        stages = stages[:1] if len(set(stages)) == 1 else stages
        cells.append(
            [row["name"], row["family"], f"{row['million_weights']:.1f}", dense, ", ".join(stages)]
            + [f"{row['seconds']:.2f}", row["prompts"]]
        )
    heads = ["architecture", "encoder of trunk", "weights", "dense", "stages", "seconds", "prompts"]
    print("\n" + markdown_table(heads, cells))
    print("\n".join(["", *refused]))
    if every:
        names, counts = ", ".join(every["refused"]), every["need_transformers"]
        print(
            f"\nOf all {every['built'] + len(every['refused'])} image towers {every['built']} are "
            f"taken; refused: {names or 'none'}. {counts['text tower']} have a text tower of "
            f"transformers, {counts['tokenizer only']} more a tokenizer of it."
        )


def main(argv: list[str] | None = None) -> dict:
    """Measure, print a table and write it as JSON."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--names", nargs="+", default=NAMES, help="architectures of open_clip")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--listed-only", action="store_true", help="do not count all architectures")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args(argv)
    import torch

    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rows = [measure(name, args.repeats) for name in args.names]
    every = None if args.listed_only else count_every()
    report = {**origin("benchmarks.towers", argv), "rows": rows, "every": every}
    show(rows, every)
    write_report(args.json, report)
    return report


if __name__ == "__main__":
    main()
