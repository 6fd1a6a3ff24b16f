"""Choice of the evaluator by the metadata string `evaluator_type`."""

from __future__ import annotations

from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from fvcore.common.registry import Registry

from stseg.data import check_registered
from stseg.evaluation.open_vocab import read_similarity
from stseg.evaluation.sem_seg_evaluator import STSegSemSegEvaluator

EVALUATOR_REGISTRY = Registry("EVALUATOR")
EVALUATOR_REGISTRY.__doc__ = """
Evaluators; the key is the data set's metadata `evaluator_type`.

The registered object is called with `obj(cfg, dataset_name, output_dir)`, where `output_dir` may
be None, and must return a `detectron2.evaluation.DatasetEvaluator`.
"""


@EVALUATOR_REGISTRY.register()
def sem_seg(cfg: Any, dataset_name: str, output_dir: str | None) -> DatasetEvaluator:
    """Label ids are vocabulary ids."""
    return STSegSemSegEvaluator(dataset_name, output_dir=output_dir, **_options(cfg, dataset_name))


@EVALUATOR_REGISTRY.register()
def sem_seg_background(cfg: Any, dataset_name: str, output_dir: str | None) -> DatasetEvaluator:
    """The last label id is background: predictions at or above it count as it (VOC-20b)."""
    options = _options(cfg, dataset_name)
    return STSegSemSegEvaluator(
        dataset_name, output_dir=output_dir, fold_background=True, **options
    )


def _options(cfg: Any, dataset_name: str) -> dict[str, Any]:
    """What TEST.EVALUATOR.* asks for; nothing where another project's config has no such keys."""
    keys = getattr(getattr(cfg, "TEST", None), "EVALUATOR", None)
    if keys is None:
        return {}
    options = {
        "boundary": keys.BOUNDARY,
        "bootstrap": keys.BOOTSTRAP,
        "seed": keys.BOOTSTRAP_SEED,
        "similarity": None,
        "weights": keys.WEIGHTS or None,
    }
    if keys.SIMILARITY:
        options["similarity"] = read_similarity(keys.SIMILARITY.format(dataset=dataset_name))
    if keys.WEIGHTS:  # without them a saved state might be of other ones
        options |= {"save_every": keys.SAVE_EVERY, "resume": keys.SAVE_EVERY > 0}
    return options


def build_evaluator(cfg: Any, dataset_name: str, output_dir: str | None = None) -> DatasetEvaluator:
    """Build the evaluator that a data set's metadata asks for.

    Args:
        cfg: handed to the registered builder.
        dataset_name: a registered name.
        output_dir: where results are written; None writes nothing.

    Raises:
        ValueError: if the data set or its evaluator type is unknown.
    """
    check_registered(dataset_name, "DATASETS.TEST")
    kind = getattr(MetadataCatalog.get(dataset_name), "evaluator_type", None)
    if kind not in EVALUATOR_REGISTRY:
        known = ", ".join(name for name, _ in EVALUATOR_REGISTRY)
        raise ValueError(
            f"Data set {dataset_name}: expected an evaluator_type in its metadata out of {known}, "
            f"got {kind!r}. Register an evaluator of that name in EVALUATOR_REGISTRY."
        )
    return EVALUATOR_REGISTRY.get(kind)(cfg, dataset_name, output_dir)
