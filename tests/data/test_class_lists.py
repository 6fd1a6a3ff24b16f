import hashlib
import json
from dataclasses import replace

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from stseg.config import setup_cfg
from stseg.data.datasets import SPECS, VARIANTS, dataset_vocabulary
from stseg.data.datasets.class_lists import (
    STYLES,
    VOCAB_DIR,
    build_vocabulary,
    load_class_list,
    load_id_table,
    load_unseen,
)
from stseg.modeling.text import load_templates
from stseg.structures import IGNORE_LABEL, Vocabulary

LISTS = sorted(p.stem for p in VOCAB_DIR.glob("*.json"))
PLAIN = {
    "coco_stuff_171": 171,
    "ade20k_150": 150,
    "ade20k_847": 847,
    "pascal_context_59": 59,
    "pascal_context_459": 459,
    "voc_20": 20,
    "voc_20b": 59,
    "voc_21": 21,
    "cityscapes_19": 19,
    "pascal_context_60": 60,
    "coco_object_81": 81,
}
# Nobody has other words for these.
ONE_STYLE = {"pascal_context_60", "coco_object_81"}
# Start of `Vocabulary.key` of what SED and CAT-Seg ask their published figures with.
PUBLISHED = {
    "coco_2017_train_stuff_all_sem_seg": "7ef7f755404fa950",
    "coco_2017_test_stuff_all_sem_seg": "7ef7f755404fa950",
    "ade20k_150_test_sem_seg": "557501c31f4ac8f3",
    "ade20k_full_sem_seg_freq_val_all": "aeeb139dbffca77a",
    "context_59_test_sem_seg": "b6e0ba59c45d23a4",
    "context_459_test_sem_seg": "a408ba20418a167f",
    "voc_2012_test_sem_seg": "6cda39242d8de71e",
    "voc_2012_test_background_sem_seg": "9b3ae672015635cb",
}


def _content(path):
    return json.loads((VOCAB_DIR / path).read_text(encoding="utf-8"))


@pytest.mark.parametrize("stem", LISTS)
def test_every_list_says_where_it_is_from_and_has_clean_names(stem):
    content = _content(f"{stem}.json")
    assert content["name"] == stem
    assert "/" in content["source"] or "put together" in content["source"]
    assert "PGSeg" not in content["source"]
    for entry in content["classes"]:
        assert isinstance(entry, str)
        assert all(name == " ".join(name.split()) and name for name in entry.split(", "))


@pytest.mark.parametrize(("name", "key"), PUBLISHED.items())
def test_nothing_changes_what_published_figures_were_asked_with(name, key):
    words, templates = dataset_vocabulary(name), setup_cfg().MODEL.TEXT.TEMPLATES
    asked = json.dumps([words.synonyms, load_templates(*templates)])
    assert hashlib.sha256(asked.encode()).hexdigest().startswith(key)


def test_every_data_set_has_its_classes_in_both_styles():
    assert set(STYLES) == set(PLAIN) == {spec.vocab for spec in SPECS}
    for plain, styles in STYLES.items():
        assert len(load_class_list(plain)) == PLAIN[plain]
        assert ("synonyms" in styles) == (plain not in ONE_STYLE)
        for asked in styles.values():
            assert len(load_class_list(asked)) == PLAIN[plain]
    styled = {stem for styles in STYLES.values() for stem in styles.values()}
    assert styled | set(PLAIN) == set(LISTS) - {"small_world"}  # nobody else has words for that one


@pytest.mark.parametrize("plain", sorted(set(PLAIN) - ONE_STYLE))
def test_synonyms_stand_at_the_place_of_the_plain_name(plain):
    """Most rows hold the plain name; those that peers rewrote are few and counted."""
    names = Vocabulary.from_names(load_class_list(plain), allow_shared_names=True).synonyms
    rows = Vocabulary.parse(f"vocab:{plain}_synonyms").synonyms
    spaceless = [{n.replace(" ", "") for n in row} for row in rows]
    without = [
        group[0]
        for group, row in zip(names, spaceless, strict=True)
        if row.isdisjoint(name.replace(" ", "") for name in group)
    ]
    rewritten = {"coco_stuff_171": 1, "ade20k_150": 10, "ade20k_847": 2, "pascal_context_59": 4}
    rewritten |= {"pascal_context_459": 3, "voc_20b": 4}
    assert len(without) == rewritten.get(plain, 0), without


def test_glued_names_of_context_459_are_parted_in_a_list_of_their_own():
    glued, spaced = (
        load_class_list("pascal_context_459"),
        load_class_list(STYLES["pascal_context_459"]["spaced"]),
    )
    assert (glued[2], spaced[2]) == ("airconditioner", "air conditioner")
    assert sum(a != b for a, b in zip(glued, spaced, strict=True)) == 94
    assert [name.replace(" ", "") for name in spaced] == list(glued)


def test_lists_equal_the_facts_they_were_taken_from(shared_dir):
    facts = {
        "coco_stuff_171_synonyms": ("coco_stuff_171_synonyms_fcclip", "classes"),
        "ade20k_150_synonyms": ("ade20k_150_synonyms_fcclip", "classes"),
        "ade20k_847_synonyms": ("ade20k_847_synonyms_openseg", "classes"),
        "pascal_context_59_synonyms": ("pascal_context_59_synonyms_fcclip", "classes"),
        "pascal_context_459_synonyms": ("pascal_context_459_synonyms_fcclip", "classes"),
        "pascal_context_459_spaced": ("pascal_context_459_spaced", "classes"),
        "voc_21_synonyms": ("voc_21", "synonyms"),
        "voc_21": ("voc_21", "classes"),
        "cityscapes_19": ("cityscapes_19", "classes"),
        "cityscapes_19_synonyms": ("cityscapes_19", "synonyms_fcclip"),
    } | {stem: (stem, "classes") for stem in set(PLAIN) - ONE_STYLE}
    for stem, (file, key) in facts.items():
        path = shared_dir / "data" / "vocab" / f"{file}.json"
        rows = json.loads(path.read_text(encoding="utf-8"))[key]
        rows = [row if isinstance(row, str) else ", ".join(dict.fromkeys(row)) for row in rows]
        rows = [row.replace(" ,", ",") for row in rows]
        assert list(load_class_list(stem)) == rows, stem


@pytest.mark.parametrize("stem", ["voc_21_rest", "pascal_context_60", "coco_object_81"])
def test_some_lists_name_the_class_without_words(stem):
    vocabulary = build_vocabulary(stem)
    assert vocabulary.rest == 0 and vocabulary.names[0] == "background"
    assert vocabulary == Vocabulary.parse(f"vocab:{stem}")
    assert build_vocabulary("voc_21").rest is None  # which is asked for by its name


@pytest.mark.parametrize("spec", VARIANTS, ids=lambda spec: spec.name)
def test_another_style_changes_the_words_and_nothing_else(spec):
    plain = next((s for s in SPECS if spec.name.startswith(f"{s.name}_")), None)
    if plain is None:
        plain = next(s for s in SPECS if s.name == "context_59_test_sem_seg")
    mine, metadata = MetadataCatalog.get(spec.name), MetadataCatalog.get(plain.name)
    assert mine.stuff_classes == metadata.stuff_classes
    assert mine.evaluator_type == metadata.evaluator_type
    assert spec.label_dir == plain.label_dir and spec.image_dir == plain.image_dir
    assert spec.ignore_labels == plain.ignore_labels
    assert len(mine.vocabulary) == len(metadata.vocabulary)
    assert (mine.vocabulary.synonyms != metadata.vocabulary.synonyms) == bool(spec.asked)
    assert metadata.vocabulary.seen is None


@pytest.mark.parametrize(
    ("split", "plain", "count"),
    [
        ("coco_stuff_156_15", "coco_stuff_171", 15),
        ("voc_15_5", "voc_20", 5),
        ("pascal_context_49_10", "pascal_context_59", 10),
        ("ade20k_847_572_275", "ade20k_847", 275),
    ],
)
def test_a_zero_shot_split_marks_its_classes_by_place(split, plain, count):
    assert _content(f"splits/{split}.json")["of"] == plain
    assert len(load_unseen(split)) == count
    spec = next(s for s in VARIANTS if s.split == split and not s.seen_only)
    vocabulary = dataset_vocabulary(spec.name)
    assert vocabulary.names == dataset_vocabulary(spec.name.removesuffix("_zero_shot")).names
    assert {i for i, seen in enumerate(vocabulary.seen) if not seen} == load_unseen(split)


def test_zero_shot_splits_are_the_usual_ones(shared_dir):
    path = shared_dir / "data" / "vocab" / "zero_shot_splits.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    coco = {row["contiguous"] for row in facts["coco_stuff_156_15"]["unseen"]}
    assert load_unseen("coco_stuff_156_15") == coco
    voc = load_class_list("voc_20")
    assert load_unseen("voc_15_5") == {voc.index(n) for n in facts["voc_15_5"]["unseen"]}
    assert load_unseen("voc_15_5") == set(range(15, 20))
    context = load_class_list("pascal_context_59")
    ten = {context.index(name) for name in facts["pascal_context_zs3"]["unseen10"]}
    assert load_unseen("pascal_context_49_10") == ten
    assert ten == {19, 33, 48, 14, 7, 24, 6, 54, 0, 31}
    rows = facts["ade20k_full_572_275"]["all"]
    names = [row[2].replace(" ,", ",") for row in rows]
    assert names == list(load_class_list("ade20k_847"))
    rare = {class_id for class_id, *_, images in rows if images <= 10}
    assert load_unseen("ade20k_847_572_275") == rare


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("coco_2017_train_stuff_base_sem_seg", 156),
        ("voc_2012_train_base_sem_seg", 15),
        ("context_59_train_base_sem_seg", 49),
        ("ade20k_full_train_base_sem_seg", 572),
    ],
)
def test_training_on_seen_classes_asks_for_these_alone(name, count):
    spec = next(s for s in SPECS if s.name == name)
    vocabulary, metadata = dataset_vocabulary(name), MetadataCatalog.get(name)
    assert len(vocabulary) == count
    assert [", ".join(names) for names in vocabulary.synonyms] == metadata.stuff_classes
    everything = load_class_list(spec.vocab)
    assert list(everything) == spec.label_names
    for label, class_id in enumerate(spec.label_ids):
        if class_id != IGNORE_LABEL:
            assert set(vocabulary.synonyms[class_id]) <= set(everything[label].split(", "))


def test_order_tables_lead_to_the_class_of_the_same_name(shared_dir):
    facts = shared_dir / "data" / "vocab"
    ours = load_class_list("pascal_context_59")
    theirs = json.loads((facts / "pascal_context_59_ovseg_order.json").read_text())["classes"]
    table = load_id_table("pascal_context_59_ovseg")
    assert sum(k != i for k, i in enumerate(table)) == 54
    renamed = {"table": "diningtable"}
    assert [ours[i] for i in table] == [renamed.get(name, name) for name in theirs]
    whole = load_class_list("pascal_context_459")
    pairs = [
        (whole[k], ours[i])
        for k, i in enumerate(load_id_table("pascal_context_459_to_59"))
        if i >= 0
    ]
    assert sorted(name for _, name in pairs) == sorted(ours)
    assert [(a, b) for a, b in pairs if a != b] == [("table", "diningtable")]
    background = MetadataCatalog.get("voc_2012_test_background_sem_seg").stuff_classes
    table = load_id_table("voc_21_to_20b")
    assert [background[i] for i in table] == list(load_class_list("voc_21"))


@pytest.mark.parametrize("stem", LISTS)
def test_a_list_that_ships_is_a_vocabulary_by_name(stem):
    vocabulary = Vocabulary.parse(f" vocab:{stem}")
    words = Vocabulary.from_names(load_class_list(stem), allow_shared_names=True)
    assert replace(vocabulary, rest=None) == words


def test_a_list_that_does_not_ship_is_refused_with_those_that_do():
    with pytest.raises(FileNotFoundError, match=r"ade20k_150, .*got 'vocab:ade'"):
        Vocabulary.parse("vocab:ade")
    with pytest.raises(FileNotFoundError):
        Vocabulary.parse("vocab:splits/voc_15_5")


def test_all_names_are_registered_once():
    names = [spec.name for spec in (*SPECS, *VARIANTS)]
    assert len(set(names)) == len(names)
    assert set(names) <= set(DatasetCatalog.list())
