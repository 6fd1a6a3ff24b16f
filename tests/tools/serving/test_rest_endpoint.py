import base64
import io
import json

import numpy as np
from PIL import Image

from stseg.structures import Background, Segmentation, Vocabulary
from tests.tools.serving.conftest import WORDS, png


def ask(client, content=None, words=WORDS, **options):
    files = {"image": ("photo.png", png() if content is None else content)}
    return client.post("/api/segment", files=files, data={"words": words, **options})


def labels_in(reply):
    picture = Image.open(io.BytesIO(base64.b64decode(reply.json()["labels_png"])))
    return np.asarray(picture).astype(int)


def pixels():
    return np.asarray(Image.open(io.BytesIO(png())))


def test_an_answer_is_that_of_the_predictor(client, predictor):
    reply = ask(client)
    assert reply.status_code == 200
    content, found = reply.json(), predictor(pixels(), WORDS)
    assert (content["width"], content["height"]) == (56, 40)
    assert (labels_in(reply) == found.label_map).all()
    assert [row["name"] for row in content["classes"]] == ["star", "red kite", "grass", "sky"]
    for row in content["classes"]:
        where = found.label_map == row["id"]
        assert abs(row["area_share"] - where.mean()) < 1e-5
        if where.any():
            assert abs(row["mean_confidence"] - found.confidence[where].mean()) < 1e-3


def test_other_words_and_downloads_do_not_encode_the_picture_again(client, encodings):
    first, second = ask(client), ask(client, words="moon; grass")
    assert first.status_code == second.status_code == 200 and len(encodings) == 1
    assert [row["name"] for row in second.json()["classes"]] == ["moon", "grass"]
    saved = client.get(f"/api/answers/{first.json()['answer']}/labels.png")
    assert saved.content == base64.b64decode(first.json()["labels_png"])
    assert len(encodings) == 1
    for seed in (1, 2):  # two are kept: the first one goes
        ask(client, png(seed))
    assert len(encodings) == 3
    gone = client.get(f"/api/answers/{first.json()['answer']}/labels.png")
    assert gone.status_code == 404 and "Segment the picture again" in gone.json()["error"]
    assert ask(client).status_code == 200 and len(encodings) == 4


def test_what_is_not_sure_and_what_distractors_win_is_unknown(client, predictor):
    sure = float(np.median(predictor(pixels(), WORDS).confidence))
    wanted = Vocabulary.parse(WORDS, background=Background.threshold(sure))
    reply = ask(client, threshold=sure)
    expected = predictor(pixels(), wanted).label_map
    assert 0 < (expected == -1).mean() < 1
    assert (labels_in(reply) == np.where(expected == -1, 255, expected)).all()
    wanted = Vocabulary.parse("star", background=Background.distractors("sky; grass"))
    expected = predictor(pixels(), wanted).label_map
    reply = ask(client, words="star", distractors="sky; grass")
    assert (labels_in(reply) == np.where(expected == -1, 255, expected)).all()
    assert abs(reply.json()["unknown_share"] - (expected == -1).mean()) < 1e-5


def test_pictures_are_given_as_such_and_downloads_can_be_read_back(client, tmp_path):
    labels, overlay = ask(client, reply="labels"), ask(client, reply="overlay")
    assert labels.headers["content-type"] == overlay.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(overlay.content)).size == (56, 40)
    key = ask(client).json()["answer"]
    for name in ("labels.png", "answer.json"):
        (tmp_path / name).write_bytes(client.get(f"/api/answers/{key}/{name}").content)
    read = Segmentation.load(tmp_path / "answer.json")
    assert (read.label_map == np.asarray(Image.open(io.BytesIO(labels.content)))).all()


def test_a_list_that_ships_is_taken_and_doubtful_words_are_noted(client):
    reply = ask(client, words="vocab:small_world")
    assert reply.status_code == 200 and len(reply.json()["classes"]) > 3
    assert "synonyms of ONE class" in ask(client, words="star, kite").json()["notes"][0]


def test_health_and_openapi_tell_of_the_endpoint(client):
    assert client.get("/api/health").json()["status"] == "ok"
    described = client.get("/openapi.json").json()["paths"]["/api/segment"]["post"]
    assert {"200", "413", "415", "422", "503"} <= set(described["responses"])
    assert "image/png" in described["responses"]["200"]["content"]
    assert "multipart/form-data" in json.dumps(described["requestBody"])
