"""Data sets of pairs as a user names them."""

import pickle

import pytest
from detectron2.data import DatasetCatalog

from stseg.config import parse_flag
from stseg.data import build_test_loader, dataset_vocabulary, has_captions, known_names
from stseg.data.readers import register_data, register_from_cfg
from stseg.data.readers.pair_index import PairIndex
from tests.helpers.caption_data import picture, sample, write_shard, write_shards

pytestmark = pytest.mark.usefixtures("clean_catalog", "label_cache_dir")


def write_files(folder, count=3):
    folder.mkdir(parents=True)
    for k in range(count):
        (folder / f"{k}.png").write_bytes(picture(k))
        (folder / f"{k}.txt").write_text(f"number {k}")
    return folder


def write_table(folder, count=3):
    write_files(folder / "photos", count)
    rows = [f"{k}.png,number {k}\n" for k in range(count)]
    (folder / "a.csv").write_text("image,caption\n" + "".join(rows))
    return folder / "a.csv"


def captions(name="mine"):
    return [record["caption"] for record in DatasetCatalog.get(name)]


@pytest.mark.parametrize("place", ["", "*.tar", "0000[01].tar", "**/*.tar"])
def test_shards_are_a_folder_or_a_glob(tmp_path, place):
    write_shards(tmp_path / "set", sizes=(2, 1))
    (tmp_path / "set" / "._00000.tar").write_bytes(b"junk of a Mac")
    line = register_data(parse_flag(f"mine=pairs:{tmp_path}/set/{place}"))
    assert line == "Data set mine: pairs; 3 pairs of image and caption"
    assert captions() == ["number 0", "number 1", "number 2"]
    assert has_captions("mine") and "mine" not in known_names()


def test_a_table_a_folder_and_one_shard_are_taken_by_what_they_are(tmp_path):
    files, rows = write_files(tmp_path / "files"), write_table(tmp_path / "table")
    shard = write_shard(tmp_path / "one.tar", [sample(k) for k in range(3)])
    register_data({"name": "a", "format": "pairs", "path": str(files)})
    register_data(parse_flag(f"b=pairs:{rows},images={tmp_path}/table/photos"))
    register_data({"name": "c", "format": "pairs", "path": str(shard)})
    assert captions("a") == captions("b") == captions("c") == [f"number {k}" for k in range(3)]


def test_what_is_left_out_is_told(tmp_path):
    write_shard(tmp_path / "a.tar", [sample(0), sample(1, jpg=picture(1)), sample(2, txt=b"two")])
    line = register_data(parse_flag(f"mine=pairs:{tmp_path}"))
    assert line.endswith("1 pairs of image and caption; 2 left out that lack the image or the capt"
                         "ion")  # fmt: skip


def test_entries_of_a_config_are_lists_or_mappings(tmp_path, data_cfg):
    rows = write_table(tmp_path / "table")
    mapping = {"name": "b", "path": str(rows), "images": str(tmp_path / "table" / "photos")}
    data_cfg.DATASETS.PAIRS = [["a", str(tmp_path / "table" / "photos")], mapping]
    lines = register_from_cfg(data_cfg)
    assert [line.split(":")[0] for line in lines] == ["Data set a", "Data set b"]
    assert register_from_cfg(data_cfg) == lines and captions("a") == captions("b")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("set", r"DATASETS.PAIRS\[0\]: expected \[name, path\] or a mapping .* got 'set'"),
        (["a", "b", "c"], r"DATASETS.PAIRS\[0\]: expected \[name, path\]"),
        ({"name": "a"}, r"DATASETS.PAIRS\[0\], 'a' of format pairs .* expected path, got none"),
        ({"name": "a", "path": "x", "captions": "y"}, r"'a' of format pairs: .* Did you mean"),
        (["a", 3], r"DATASETS.PAIRS\[0\], path of 'a': expected text, got 3"),
        (["a", "{0}/empty"], "Data set a: expected at least one image with a caption in .*empty"),
        (["a", "{0}/nowhere"], "Data set a: expected the folder of images or shards, .*nowhere"),
        (["a", "{0}/*.tar"], r"Data set a: expected tar shards, got none at .*\*\.tar"),
        (["a", "{0}/no.csv"], r"Data set a: expected the table of captions .*no\.csv"),
        (
            {"name": "a", "path": "{0}/empty", "images": "x"},
            "a CSV, TSV or JSONL for images, got .*empty",
        ),
    ],
)
def test_an_entry_that_cannot_be_is_named_with_its_place(tmp_path, data_cfg, entry, message):
    (tmp_path / "empty").mkdir()
    if isinstance(entry, list):
        entry = [p.format(tmp_path) if isinstance(p, str) else p for p in entry]
    if isinstance(entry, dict):
        entry = {key: value.format(tmp_path) for key, value in entry.items()}
    data_cfg.DATASETS.PAIRS = [entry]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        register_from_cfg(data_cfg)


def test_captions_are_refused_where_classes_are_needed(tmp_path, data_cfg):
    data_cfg.DATASETS.PAIRS = [["mine", str(write_files(tmp_path / "set"))]]
    register_from_cfg(data_cfg)
    with pytest.raises(ValueError, match="DATASETS.TEST: expected a data set with classes, got 'm"):
        build_test_loader(data_cfg, "mine")
    with pytest.raises(ValueError, match="Data set mine: expected one with classes, got pairs"):
        dataset_vocabulary("mine")


def test_an_index_is_joined_cut_and_sent_to_other_processes(tmp_path):
    write_shards(tmp_path / "shards", sizes=(3, 2))
    places = [tmp_path / "shards", write_files(tmp_path / "files"), write_table(tmp_path / "table")]
    images = {2: f",images={tmp_path}/table/photos"}
    for k, place in enumerate(places):
        register_data(parse_flag(f"set{k}=pairs:{place}{images.get(k, '')}"))
    index = PairIndex.joined([DatasetCatalog.get(f"set{k}") for k in range(3)])
    assert len(index) == 11 and index.nbytes < 1000
    whole = list(index)
    assert [r["caption"][-1] for r in whole] == list("01234012012")
    again = pickle.loads(pickle.dumps(index))
    assert list(again) == whole and again[-1] == whole[10]
    assert list(index[:7]) == whole[:7] and list(index[2:9][1:3]) == whole[3:5]
    assert len(index[:100]) == 11 and index[4:].place(0) == f"{tmp_path}/shards/00001.tar"
    with pytest.raises(IndexError):
        index[:7][7]


def test_sets_of_the_web_lie_below_the_data_root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"expected tar shards in .*/cc3m, got none.*is '"):
        DatasetCatalog.get("cc3m_pairs")
    write_shards(tmp_path / "cc3m", sizes=(2, 3))
    assert len(DatasetCatalog.get("cc3m_pairs")) == 5
    assert has_captions("cc3m_pairs") and has_captions("redcaps12m_pairs")
