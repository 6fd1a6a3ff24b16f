from .augmentation import build_augmentations
from .band_rules import BandRule
from .datasets.class_lists import (
    STYLES,
    build_vocabulary,
    load_class_list,
    load_id_table,
    load_unseen,
)
from .datasets.class_matching import MATCH_RULES, Match, known_classes
from .datasets.layouts import data_root, present_layouts
from .datasets.listing import (
    PLAIN_NAMES,
    Naming,
    folders_of,
    listed_keys,
    not_taken,
    refuse_same_files,
    same_files,
)
from .datasets.miniature import IGNORED_IN_FILES, SPLITS, UNLABELLED_SPLIT
from .datasets.register import (
    check_registered,
    dataset_ignore_labels,
    dataset_label_coding,
    dataset_label_ids,
    dataset_label_reader,
    dataset_layout,
    dataset_vocabulary,
    distinct_names,
    has_captions,
    known_names,
)
from .datasets.specs import SPECS, VARIANTS, DatasetSpec
from .image_io import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    image_size,
    read_ids,
    read_image,
    read_label,
    suggested_values,
    to_rgb,
)
from .label_coding import CODING_KEYS, LabelCoding, coding_of
from .label_doubts import DoubtfulLabelsError, LabelDoubts
from .label_rasters import open_label_raster
from .loaders import (
    build_record_loader,
    build_self_training_loader,
    build_test_loader,
    build_train_loader,
    check_labels,
    check_sources,
    first_images,
)
from .media import find_media, is_video, unique_stems
from .opening import BrokenFileError, PackedImage, is_whole, open_image, tell_once
from .pixel_values import labels_may_be_turned, orientation_of
from .rasters import (
    ArrayRaster,
    GeoRaster,
    Raster,
    open_raster,
    raster_facts,
    require_rasterio,
)
from .readers.folders import register_data, register_folder, register_from_cfg, register_images
from .readers.unlabelled import Skipped, list_images
from .sampling import balance_weights, spread
from .sound_video import open_video_about
from .tile_grid import Tile, TileGrid, check_tiling
from .videos import (
    DamagedVideoError,
    look_at_video,
    open_video,
    read_video,
    video_frames,
    video_size,
)

__all__ = [
    "CODING_KEYS",
    "IGNORED_IN_FILES",
    "IMAGE_SUFFIXES",
    "LABEL_SUFFIXES",
    "MATCH_RULES",
    "PLAIN_NAMES",
    "SPECS",
    "SPLITS",
    "STYLES",
    "UNLABELLED_SPLIT",
    "VARIANTS",
    "ArrayRaster",
    "BandRule",
    "BrokenFileError",
    "DamagedVideoError",
    "DatasetSpec",
    "DoubtfulLabelsError",
    "GeoRaster",
    "LabelCoding",
    "LabelDoubts",
    "Match",
    "Naming",
    "PackedImage",
    "Raster",
    "Skipped",
    "Tile",
    "TileGrid",
    "balance_weights",
    "build_augmentations",
    "build_record_loader",
    "build_self_training_loader",
    "build_test_loader",
    "build_train_loader",
    "build_vocabulary",
    "check_labels",
    "check_registered",
    "check_sources",
    "check_tiling",
    "coding_of",
    "data_root",
    "dataset_ignore_labels",
    "dataset_label_coding",
    "dataset_label_ids",
    "dataset_label_reader",
    "dataset_layout",
    "dataset_vocabulary",
    "distinct_names",
    "has_captions",
    "find_media",
    "first_images",
    "folders_of",
    "image_size",
    "is_video",
    "is_whole",
    "known_classes",
    "known_names",
    "labels_may_be_turned",
    "list_images",
    "listed_keys",
    "load_class_list",
    "load_id_table",
    "load_unseen",
    "look_at_video",
    "not_taken",
    "open_image",
    "open_label_raster",
    "open_raster",
    "open_video",
    "open_video_about",
    "orientation_of",
    "present_layouts",
    "raster_facts",
    "read_ids",
    "read_image",
    "read_label",
    "read_video",
    "refuse_same_files",
    "register_data",
    "register_folder",
    "register_from_cfg",
    "register_images",
    "require_rasterio",
    "same_files",
    "spread",
    "suggested_values",
    "tell_once",
    "to_rgb",
    "unique_stems",
    "video_frames",
    "video_size",
]
