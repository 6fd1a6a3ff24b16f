"""Files that Macs and others call by two Unicode forms of one name."""

import json
import unicodedata

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from PIL import Image

from stseg.data.readers import register_data
from stseg.evaluation.label_images import pair_folders
from stseg.self_training.veto import Veto
from stseg.tools.verification import folder_target, list_folder

NFC, NFD = (unicodedata.normalize(form, "Zürich 까페") for form in ("NFC", "NFD"))

pytestmark = pytest.mark.usefixtures("clean_catalog", "label_cache_dir")


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture(params=[(NFC, NFD), (NFD, NFC)], ids=["labels NFD", "labels NFC"])
def root(request, tmp_path):
    """Image and label of one name in two forms."""
    image, label = request.param
    save(tmp_path / "images" / f"{image}.png", np.full((8, 9, 3), 7, np.uint8))
    save(tmp_path / "labels" / f"{label}.png", np.zeros((8, 9), np.uint8))
    (tmp_path / "names.txt").write_text("a\nb\n")
    return tmp_path


def test_a_folder_pairs_them(root):
    register_data({"name": "mine", "path": str(root)})
    assert len(DatasetCatalog.get("mine")) == 1


def test_scores_and_verification_pair_them(root):
    assert len(pair_folders(root / "labels", root / "images", [f"{NFD}.png"])) == 1
    names = ("mine", str(root / "images"), str(root / "labels"), str(root / "names.txt"))
    listed = list_folder(folder_target(*names))
    assert len(listed.pairs) == 1 and not listed.findings


@pytest.mark.parametrize("kind", ["coco", "labelme"])
def test_an_annotation_leads_to_its_image(root, kind):
    stated = NFD if (root / "images" / f"{NFC}.png").exists() else NFC
    corners = [[2, 2], [9, 2], [9, 9]]
    if kind == "coco":
        content = {
            "images": [{"id": 1, "file_name": f"{stated}.png"}],
            "categories": [{"id": 1, "name": "x"}],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[2, 2, 9, 2, 9, 9]]}
            ],
        }
        place = root / "annotations.json"
    else:
        content = {"imagePath": f"{stated}.png", "shapes": [{"label": "x", "points": corners}]}
        place = root / "labels" / "any.json"
    place.write_text(json.dumps(content))
    entry = {"images": str(root / "images")}
    entry |= {"annotation": str(place)} if kind == "coco" else {"labels": str(root / "labels")}
    register_data({"name": "mine", "format": kind, **entry})
    assert len(DatasetCatalog.get("mine")) == 1


def test_a_veto_finds_image_and_class(tmp_path):
    path = tmp_path / "veto.txt"
    path.write_text(f"image: {NFD}.png\nclass: CAFE\u0301\n", encoding="utf-8")
    veto = Veto.read(path, ["caf\u00e9", "b"], [f"{NFC}.png"])
    assert veto.class_ids == {0} and veto.images == {f"{NFC}.png"}
