"""Open-vocabulary semantic segmentation for Detectron2."""
