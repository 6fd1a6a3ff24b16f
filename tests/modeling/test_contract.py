"""One set of questions for every registered system, and three systems that make them hard."""

from dataclasses import replace

import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY
from torch.nn import functional as F

from stseg.checkpoint import WeightFacts
from stseg.modeling.meta_arch import (
    CEL,
    EBSeg,
    OpenVocabSegmentor,
    PGSeg,
    STSeg,
    export_graphs,
)
from stseg.modeling.scores import Cells, LabelMap, QuerySum, Resized, Tiles, confidences
from stseg.modeling.scores.sources import confidence_bounds
from stseg.structures import IGNORE_LABEL, Vocabulary
from tests.helpers import systems
from tests.helpers.tiny_model import tiny_cel_cfg, tiny_cfg, tiny_ebseg_cfg, tiny_pgseg_cfg

SYSTEMS = {name: kind for name, kind in META_ARCH_REGISTRY if issubclass(kind, OpenVocabSegmentor)}
FAKES = ("QueryFake", "CaptionFake", "WindowFake")
FEW = Vocabulary.parse("sky; tree, bush; cat; road; moon; car; hill").with_seen("sky; cat; car")
ONE = Vocabulary.parse("sky")
MANY = Vocabulary.parse([f"thing {i}" for i in range(200)])


def build(name, seed=0, **changes):
    torch.manual_seed(seed)
    changes = {"MODEL__TEXT__TEMPLATES": ["single", "{}"], **changes}  # the words are not asked
    if name == "STSeg":
        return STSeg(tiny_cfg(**changes))
    if name == "EBSeg":
        return EBSeg(tiny_ebseg_cfg(**changes))
    if name == "CEL":
        return CEL(tiny_cel_cfg(**changes))
    if name == "PGSeg":
        return PGSeg(tiny_pgseg_cfg(**changes))
    return SYSTEMS[name](None)


def items(vocabulary, *sizes, labels=None):
    generator = torch.Generator().manual_seed(3)
    made = []
    for height, width in sizes:
        pixels = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
        made.append({"image": pixels, "vocabulary": vocabulary})
        if labels is not None:
            shown = torch.randint(0, len(vocabulary), (height, width), generator=generator)
            made[-1]["sem_seg"] = shown if labels else torch.full_like(shown, IGNORE_LABEL)
    return made


def lessons(name, vocabulary, *sizes, labels):
    """What a system is trained on: label maps, and captions where it wants nothing else."""
    made = items(vocabulary, *sizes, labels=labels)
    for k, item in enumerate(made if name == "PGSeg" else ()):
        item["caption"] = f"a photo of {vocabulary.names[k % len(vocabulary)]}"
    return made


def resized(x, size):
    return F.interpolate(x[None], size, mode="bilinear", align_corners=False)[0]


# --- dense answers, in plain PyTorch ---


def query_dense(model, item, vocabulary):
    """(T, H, W) sums of queries, and the factor that makes confidences of them."""
    image = item["image"].float() / 255 - 0.5
    height, width = image.shape[-2:]
    padded = F.pad(image, (0, -width % 32, 0, -height % 32))
    dense = model.image_encoder(padded[None])[0]
    masks = torch.einsum("qc,chw->qhw", model.queries, dense)
    masks = resized(masks, padded.shape[-2:])[:, :height, :width]
    masks = resized(masks, (item["height"], item["width"])).sigmoid()
    embeds = model.embed(vocabulary).mean_over_synonyms().embeds[:, 0]
    shares = (8 * model.queries @ embeds.T).softmax(-1)
    seen = vocabulary.seen or [True] * len(vocabulary)
    shares = shares ** torch.tensor([1.0 if mark else 0.5 for mark in seen])
    return torch.einsum("qt,qhw->thw", shares, masks), 1 / masks.sum(0).clamp(min=1)


def caption_dense(model, item, vocabulary):
    image = resized(item["image"].float(), (32, 32)) / 255 - 0.5
    dense = model.norm(model.image_encoder(image[None]))[0]
    dense = F.normalize(torch.einsum("pc,chw->phw", model.prototypes, dense), dim=0)
    embeddings = model.embed(vocabulary)
    names = torch.einsum("sc,chw->shw", embeddings.embeds[:, 0], dense)
    best = [names[embeddings.class_index == c].amax(0) for c in range(embeddings.num_classes)]
    scores = resized((4 * torch.stack(best)).sigmoid(), (item["height"], item["width"]))
    if vocabulary.rest is not None:
        level = torch.full_like(scores[:1], model.level)
        scores = torch.cat([scores[: vocabulary.rest], level, scores[vocabulary.rest :]])
    return scores, 1.0


def window_dense(model, item, vocabulary):
    canvas = resized(item["image"].float(), (40, 40))
    embeddings = model.embed(vocabulary)

    def probabilities(picture, size):
        picture = resized(picture, (24, 24)) / 255 - 0.5
        dense = F.normalize(model.image_encoder(picture[None])[0], dim=0)
        names = 4 * torch.einsum("sc,chw->shw", embeddings.embeds[:, 0], dense) - 1
        groups = [names[embeddings.class_index == c] for c in range(embeddings.num_classes)]
        logits = torch.stack([group.amax(0) for group in groups])
        kept = logits.flatten(1).amax(1).topk(min(3, len(logits))).indices
        probs = torch.zeros(len(logits), *size)
        probs[kept] = resized(logits, size)[kept].sigmoid()
        return probs

    total, count = torch.zeros(len(vocabulary), 40, 40), torch.zeros(40, 40)
    for top in (0, 16):
        for left in (0, 16):
            part = slice(None), slice(top, top + 24), slice(left, left + 24)
            total[part] += probabilities(canvas[part], (24, 24))
            count[part[1:]] += 1
    whole = probabilities(item["image"].float(), (40, 40))
    return resized((total / count + whole) / 2, (item["height"], item["width"])), 1.0


DENSE = dict(zip(FAKES, (query_dense, caption_dense, window_dense), strict=True))


def rest(vocabulary):
    return replace(vocabulary, rest=len(vocabulary) // 2)


CASES = [(name, vocabulary) for name in FAKES for vocabulary in (ONE, FEW, MANY)]
# The others ask for its name like for any other.
CASES += [("CaptionFake", rest(vocabulary)) for vocabulary in (FEW, MANY)]


@pytest.mark.parametrize("size", [(64, 64), (37, 90), (20, 11)])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize(
    ("name", "vocabulary"),
    CASES,
    ids=[f"{n}-{len(v)}{'-rest' * (v.rest is not None)}" for n, v in CASES],
)
def test_the_hard_systems_equal_a_dense_answer(name, vocabulary, k, size):
    model, k = build(name).eval(), min(k, len(vocabulary))
    (item,) = items(vocabulary, (50, 44))
    item |= {"height": size[0], "width": size[1]}
    with torch.no_grad():
        scores, scale = DENSE[name](model, item, vocabulary)
        (found,), (output,) = model.label_maps([item], k), model([item])
    torch.testing.assert_close(output["sem_seg"], scores * scale, atol=2e-6, rtol=0)
    expected = LabelMap.of(scores, k)
    close = {"atol": 1e-5, "rtol": 0}
    best = expected.top_confidences
    torch.testing.assert_close(scores.gather(0, found.top_labels.long()), best, **close)
    torch.testing.assert_close(found.top_confidences, best * scale, **close)
    assert found.top_labels.shape == (k, *size)
    if name == "QueryFake" and vocabulary is not MANY:
        assert scores.max() > 1 >= output["sem_seg"].max()


@pytest.mark.parametrize("seed", range(4))
def test_windows_average_confidences_where_scores_are_none(seed):
    """Sums of queries by windows: what wins a window by its sum may lose the picture."""
    model = build("QueryFake", seed).eval()
    model.tiles = Tiles((24, 24), 1 / 3, whole_image=False)
    (item,) = items(FEW, (40, 40))
    total, count = torch.zeros(len(FEW), 40, 40), torch.zeros(40, 40)
    with torch.no_grad():
        for top in (0, 16):
            for left in (0, 16):
                part = slice(None), slice(top, top + 24), slice(left, left + 24)
                window = {"image": item["image"][part], "height": 24, "width": 24}
                scores, scale = query_dense(model, window, FEW)
                total[part] += scores * scale
                count[part[1:]] += 1
        (found,), (output,) = model.label_maps([item], 3), model([item])
    expected = total / count
    torch.testing.assert_close(output["sem_seg"], expected, atol=2e-6, rtol=0)
    best = expected.topk(3, dim=0).values
    torch.testing.assert_close(found.top_confidences, best, atol=1e-5, rtol=0)


def test_bounds_of_confidences_hold_where_a_factor_makes_them():
    torch.manual_seed(0)
    shares = torch.rand(systems.QUERIES, 5)
    flat = 1 + torch.rand(systems.QUERIES, 1, 1)  # bounds as near as they get
    masks = Resized(Cells(flat + 0.01 * torch.randn(systems.QUERIES, 6, 7)), (30, 35))
    source = QuerySum(masks, shares)
    blocks = [(0, 9), (9, 30), (30, 35)]
    low, high = confidence_bounds(source, (4, 21), blocks)
    for k, cols in enumerate(blocks):
        values = confidences(source, torch.arange(5), (4, 21), cols).flatten(1)
        assert (low[k] <= values.amin(1) + 1e-6).all() and (values.amax(1) <= high[k] + 1e-6).all()
    assert (source.scale((4, 21), (0, 35)) < 0.9).any()


# --- the same questions for all ---


@pytest.fixture(params=SYSTEMS)
def name(request):
    return request.param


def test_those_that_ship_and_the_hard_ones_are_asked():
    assert {"STSeg", "EBSeg", "CEL", "PGSeg", *FAKES} <= set(SYSTEMS)


@pytest.mark.parametrize("vocabulary", [ONE, FEW, MANY], ids=len)
def test_losses_are_finite_and_every_trained_tensor_learns(name, vocabulary):
    model = build(name).train()
    losses = model(lessons(name, vocabulary, (40, 56), (64, 32), labels=True))
    assert losses and all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    learning = {n for n, p in model.named_parameters() if p.grad is not None}
    assert learning == {n for n, p in model.named_parameters() if p.requires_grad}
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_batch_without_a_label_teaches_nothing_and_breaks_nothing(name):
    if name == "PGSeg":
        pytest.skip("learns from captions alone, see test_captions_are_all_that_pgseg_learns_from")
    model = build(name, MODEL__LOSS__IGNORED="masked").train()
    losses = model(items(FEW, (40, 56), (64, 32), labels=False))
    assert all(loss == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", ["STSeg", "EBSeg", "CEL"])
@pytest.mark.parametrize("labelled", [0, 1])
def test_a_batch_that_lacks_label_maps_is_refused(name, labelled):
    batch = items(FEW, (40, 56), (40, 56), labels=True)
    for item in batch[labelled:]:
        del item["sem_seg"]
    with pytest.raises(ValueError) as caught:
        build(name).train()(batch)
    message = str(caught.value)
    assert message.startswith("batched_inputs: expected 'sem_seg', a label map, in every input")
    assert f"got it in {labelled} of 2 inputs" in message and "model.eval()" in message


@pytest.mark.parametrize("vocabulary", [ONE, FEW, MANY], ids=len)
def test_answers_are_confidences_of_the_wanted_size_image_by_image(name, vocabulary):
    model = build(name).eval()
    batch = items(vocabulary, (40, 56), (40, 56))
    batch[1] |= {"height": 13, "width": 90}
    with torch.no_grad():
        outputs = [output["sem_seg"] for output in model(batch)]
        alone = [model([item])[0]["sem_seg"] for item in batch]
    for output, one, size in zip(outputs, alone, [(40, 56), (13, 90)], strict=True):
        assert output.shape == (len(vocabulary), *size) and output.dtype == torch.float32
        assert 0 <= output.min() and output.max() <= 1
        torch.testing.assert_close(output, one, atol=1e-5, rtol=0)


def test_training_in_between_changes_no_answer_but_by_what_it_trains(name):
    model = build(name).eval()
    buffers = {n for n, _ in model.named_buffers()}
    (item,) = items(FEW, (40, 56))
    with torch.no_grad():
        first = model([item])[0]["sem_seg"]
        assert torch.equal(model([item])[0]["sem_seg"], first)
        state = {n: v.clone() for n, v in model.state_dict().items()}
        model.train()(lessons(name, FEW, (40, 56), labels=True))
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, state[n])}
    assert changed <= buffers
    model.eval().load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(model([item])[0]["sem_seg"], first)


def test_a_state_goes_into_another_model(name):
    one, two = build(name).eval(), build(name, seed=1).eval()
    (item,) = items(FEW, (40, 56))
    with torch.no_grad():
        assert not torch.equal(one([item])[0]["sem_seg"], two([item])[0]["sem_seg"])
        two.load_state_dict(one.state_dict())
        assert torch.equal(one([item])[0]["sem_seg"], two([item])[0]["sem_seg"])


def test_other_words_on_an_encoded_image_are_as_on_a_fresh_one(name):
    model = build(name).eval()
    image = items(FEW, (40, 56))[0]["image"]
    with torch.no_grad():
        encoded = model.encoded(image, kept_bytes=1 << 30)
        for vocabulary in (FEW, MANY, ONE, FEW):
            scores = model.scores_of(encoded, model.embed(vocabulary), vocabulary)
            found = LabelMap.read(scores.at((40, 56)))
            (fresh,) = model.label_maps([{"image": image, "vocabulary": vocabulary}])
            assert torch.equal(found.labels, fresh.labels)
            assert torch.equal(found.confidence, fresh.confidence)


@pytest.mark.parametrize("kept_bytes", [0, 1 << 30])
def test_an_image_is_encoded_once_if_there_is_room(name, kept_bytes, monkeypatch):
    model, calls = build(name).eval(), []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda images: calls.append(len(images)) or encode(images))
    with torch.no_grad():
        encoded = model.encoded(items(FEW, (40, 56))[0]["image"], kept_bytes)
        for vocabulary in (FEW, MANY):
            scores = model.scores_of(encoded, model.embed(vocabulary), vocabulary)
            LabelMap.read(scores.at((40, 56)))
            calls.append(0)
    first, second = "".join(str(x) for x in calls).split("0")[:2]
    assert len(first) == (5 if model.tiles else 1)
    assert second == ("" if kept_bytes else first)


def test_it_is_exported_as_two_graphs_for_any_number_of_classes(name):
    model, image = build(name).eval(), items(FEW, (40, 56))[0]["image"].float()
    encode, logits = (program.module() for program in export_graphs(model, (40, 56)))
    with torch.no_grad():
        features = model.encode([image]).tensors
        found = encode(image)
        assert set(found) == set(features)
        for key, x in found.items():
            torch.testing.assert_close(x, features[key])
        for count in (1, 2, 200):
            words = Vocabulary.parse([f"thing {i}" for i in range(count)])
            embeddings, marks = model.embed(words), torch.arange(count) % 2 == 0
            ours = logits(found, embeddings.embeds, marks)
            for x, y in zip(ours, model.logits(features, embeddings, marks), strict=True):
                torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-5)


def test_marks_that_the_words_lack_come_from_the_names_that_the_weights_learnt():
    model = build("QueryFake").eval()
    words, (item,) = replace(FEW, seen=None), items(FEW, (40, 56))
    assert model.seen_marks(words) is None
    model.facts = WeightFacts(trained_on=(("cat",), ("sky-other",), ("wall",)))
    assert model.seen_marks(words).tolist() == [True, False, True, False, False, False, False]
    assert model.seen_marks(FEW).tolist() == list(FEW.seen)  # its own come first
    with torch.no_grad():
        (ours,) = model([{**item, "vocabulary": words}])
        (theirs,) = model([{**item, "vocabulary": words.with_seen("sky; cat")}])
    assert torch.equal(ours["sem_seg"], theirs["sem_seg"])
    other = build("CaptionFake")
    other.facts = model.facts
    assert other.seen_marks(words) is None  # it does not ask


def test_marks_of_seen_classes_reach_the_system():
    model = build("QueryFake").eval()
    (marked,), (plain,) = items(FEW, (40, 56)), items(replace(FEW, seen=None), (40, 56))
    with torch.no_grad():
        one, two = (model([item])[0]["sem_seg"] for item in (marked, plain))
    assert (one > two).flatten(1).any(1).tolist() == [not mark for mark in FEW.seen]


def test_captions_train_where_there_are_no_labels():
    model = build("CaptionFake").train()
    batch = items(FEW, (40, 56), (64, 32))
    losses = model([{**item, "caption": f"a photo {k}"} for k, item in enumerate(batch)])
    losses["loss_caption"].backward()
    assert model.text_encoder.layer.weight.grad.abs().sum() > 0
    assert not torch.equal(model.prototypes, torch.eye(systems.WIDTH))


def test_captions_alone_need_no_vocabulary_and_are_no_lesson_in_classes():
    batch = [{"image": x["image"], "caption": f"a {k}"} for k, x in enumerate(items(FEW, (40, 56)))]
    (loss,) = build("CaptionFake").train()(batch).values()
    assert loss.isfinite()
    for name in ("QueryFake", "WindowFake"):
        with pytest.raises(ValueError, match="expected a 'vocabulary' in every input, got caption"):
            build(name).train()(batch)
    with pytest.raises(ValueError, match="one and the same 'vocabulary' in every input"):
        build("CaptionFake").train()([*batch, *items(FEW, (40, 56))])
