"""Pseudo-labels of many images by several processes: who does what, and that it is the same."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.utils import comm
from torch import nn

from stseg.self_training import store as store_module
from stseg.self_training.dataset_labeler import DatasetLabeler
from stseg.self_training.labeler import Labeler
from stseg.self_training.pseudo_label import ClassRecord, PseudoLabel
from stseg.self_training.store import PseudoLabelStore
from stseg.self_training.store_records import ImageRecord
from stseg.self_training.target import Target
from stseg.structures import Vocabulary
from tests.helpers.ranks import Ranks

WORDS = Vocabulary.parse("cat; dog; cow")


class Stripes(nn.Module):
    """Sure of the class that the image's number names, in a stripe as wide as it says."""

    def forward(self, batch):
        answers = []
        for item in batch:
            number, size = int(item["image"][0, 0, 0]), (item["height"], item["width"])
            probs = torch.full((len(WORDS), *size), 0.01 * (number % 50))
            probs[number % len(WORDS), :, : 1 + number % size[1]] = 0.95 - 0.01 * (number % 13)
            answers.append({"sem_seg": probs})
        return answers


def read(records):
    """Model inputs of 4 x 6 pixels that hold the number of their file."""
    for record in records:
        image = torch.full((3, 4, 6), int(Path(record["file_name"]).stem), dtype=torch.uint8)
        yield {"image": image, "height": 4, "width": 6, "vocabulary": WORDS, **record}


def make_labeler(images, items=read):
    records = tuple({"file_name": str(path)} for path in images)
    target, labeler = Target("target", records, WORDS), Labeler(WORDS.names, threshold=0.93)
    return DatasetLabeler(target=target, labeler=labeler, items=items, quantile=0.5)


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / "images" / f"{k}.png" for k in range(23)]
    paths[0].parent.mkdir()
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


class Process:
    """What one of several did: images it asked the model about, images it wrote, its store."""

    def __init__(self, images, folder, stop_after):
        self.asked, self.written = [], []
        labeler = make_labeler(images, self._read)
        self.store = labeler.store(folder, 1, "weights")
        write = self.store.write

        def noted(index, *args, **options):
            if len(self.written) == stop_after:
                raise InterruptedError
            self.written.append(index)
            write(index, *args, **options)

        self.store.write = noted
        labeler.fill(self.store, Stripes().eval(), [0, 5])

    def _read(self, records):
        for item in read(records):
            self.asked.append(item["file_name"])
            yield item


@pytest.fixture
def fill(images, tmp_path, monkeypatch):
    """Fills a store with some processes; returns what each did."""

    def start(folder, processes, stop_after=None):
        return Ranks(processes).run(
            monkeypatch, lambda rank: Process(images, tmp_path / folder, stop_after)
        )

    return start


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_any_number_of_processes_writes_the_same_files_and_counts_the_same(fill, tmp_path):
    runs = {n: fill(f"by {n}", n) for n in (1, 2, 3)}
    files = {n: content(tmp_path / f"by {n}") for n in runs}
    assert files[1] == files[2] == files[3] and len(files[1]) == 2 * 23 + 2 + 2
    first = runs[1][0].store
    assert 0 < first.summary()["coverage"] < 1
    for store in [process.store for n in (2, 3) for process in runs[n]]:  # each knows it all
        assert store.summary() == first.summary()
        assert store.counts.classes == first.counts.classes
        assert store.classes_for_training() == first.classes_for_training()
        assert [r["file_name"] for r in store.records_for_training()] == [
            r["file_name"] for r in first.records_for_training()
        ]


@pytest.mark.parametrize(("killed", "resumed"), [(1, 1), (2, 2), (2, 1), (1, 2), (4, 3)])
def test_labels_cut_off_and_gone_on_with_are_those_in_one_go(fill, tmp_path, killed, resumed):
    fill("whole", 1)
    with pytest.raises(InterruptedError):
        fill("killed", killed, stop_after=3)
    before = content(tmp_path / "killed")
    fill("killed", resumed)
    after = content(tmp_path / "killed")
    assert before.items() <= after.items() and len(before) < len(after)
    assert after == content(tmp_path / "whole")


def test_what_is_missing_of_one_residue_is_dealt_out_evenly(fill, tmp_path):
    fill("run", 4)
    whole = content(tmp_path / "run")
    for path in (tmp_path / "run").glob("round_01-*/records/*"):
        number = int(path.name[:6])
        if number % 4 == 1 and number % 8 == 1:
            path.unlink()
        elif number % 4 == 1:
            path.write_bytes(b"damaged")
    assert [process.written for process in fill("run", 4)] == [[1, 17], [5, 21], [9], [13]]
    assert content(tmp_path / "run") == whole


def test_whole_labels_ask_the_model_for_nothing(fill):
    fill("run", 2)
    assert [process.asked for process in fill("run", 2)] == [[], []]


def test_a_label_of_the_round_before_that_is_gone_ends_the_comparison_on_all(
    fill, images, tmp_path, monkeypatch
):
    stores = [process.store for process in fill("run", 2)]
    (stores[0].folder / "labels" / "000001_1.png").unlink()
    shares = Ranks(2).run(
        monkeypatch, lambda rank: make_labeler(images).change_share(stores[rank], stores[rank])
    )
    assert shares == [None, None]


@pytest.mark.parametrize("count", [2000, pytest.param(20000, marks=pytest.mark.slow)])
def test_no_process_reads_more_than_its_share_and_each_file_once(tmp_path, monkeypatch, count):
    image = tmp_path / "p.jpg"
    image.write_bytes(b"an image")
    images = [image] * count
    (tmp_path / "made").mkdir()
    store = make_labeler(images[:1]).store(tmp_path / "made", 1, "weights").open()
    labels = np.array([[0, 1], [2, -1]], dtype=np.int32)
    cat = ClassRecord(0, "cat", 0.95, True, "", 1, 1)
    store.write(0, PseudoLabel(labels, labels, (cat,)))
    many = make_labeler(images).store(tmp_path / "many", 1, "weights").open()
    for index in range(count):
        for kind, suffix in (("labels", "png"), ("records", "json")):
            file = store.folder / kind / f"000000_p.{suffix}"
            os.link(file, many.folder / kind / f"{index:06d}_p.{suffix}")

    read_by = Counter()

    def noted(what, old):
        def call(*args, **options):
            read_by[what, comm.get_rank()] += 1
            return old(*args, **options)

        return call

    for owner, name in [
        (store_module, "is_whole"),
        (ImageRecord, "read"),
        (Path, "read_bytes"),
        (PseudoLabelStore, "read_labels"),
        (PseudoLabelStore, "is_done"),
    ]:
        monkeypatch.setattr(owner, name, noted(name, getattr(owner, name)))
    summaries = []
    for processes in (1, 4):
        read_by.clear()

        def work(rank):
            labeler = make_labeler(images)
            found = labeler.store(tmp_path / "many", 1, "weights")
            assert labeler.is_whole(found)
            assert labeler.is_whole(labeler.store(tmp_path / "many", 1, "weights"))  # known by now
            assert len(found.records_for_training()) == len(found.classes_for_training()) == count
            assert comm.get_world_size() == 1 or labeler.change_share(found, found) == 0
            return found.summary()

        summaries += Ranks(processes).run(monkeypatch, work)
        share = -(-count // processes)
        for rank in range(processes):
            assert read_by["is_whole", rank] == read_by["read", rank] == share
            assert read_by["is_done", rank] == share
            assert read_by["read_labels", rank] == (2 * share if processes > 1 else 0)
            # The image for the key, and the record; once more the summary, by whoever writes it.
            again = int(rank == 0 and len(summaries) > processes)
            assert read_by["read_bytes", rank] == 2 * share + again
    assert all(summary == summaries[0] for summary in summaries)
    assert summaries[0]["images"] == summaries[0]["classes"][2]["pixels"] == count
    assert summaries[0]["classes"][0]["images_accepted"] == count
