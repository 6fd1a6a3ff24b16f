"""The split ViT against the published one's arrays, see fixtures/ebseg."""

import pytest
import torch

from stseg.checkpoint import ebseg_encoders
from stseg.modeling.encoders.patch_tokens import resized_positions
from stseg.modeling.encoders.query_attention import pool_bias
from tests.helpers.ebseg_arrays import assert_within, ebseg_arrays, tensor, under
from tests.helpers.published_attention import ask_as_published, bias_matrix
from tests.helpers.small_vit import small_vit, split


@pytest.fixture(scope="module")
def arrays(shared_dir):
    return ebseg_arrays(shared_dir, "clip_masked_forward")


@pytest.fixture(scope="module")
def encoder(arrays):
    visual = small_vit()
    visual.load_state_dict(under(arrays, "pretrained/"))
    return split(visual)


@pytest.fixture(scope="module")
def features(arrays, encoder):
    with torch.no_grad():
        return encoder(tensor(arrays["image"]), dense=True)


def test_published_names_of_both_parts_hold_the_pretrained_weights(arrays):
    parts = {"lower/": "clip_visual_extractor.", "upper/": "clip_rec_head."}
    state = {
        prefix + key: value
        for part, prefix in parts.items()
        for key, value in under(arrays, f"w/{part}").items()
    }
    lower = ebseg_encoders.lower_depth(state)
    found = {ebseg_encoders.rename(key, lower): value for key, value in state.items()}
    wanted = under(arrays, "pretrained/")
    assert {f"image_encoder.visual.{key}" for key in wanted} == set(found)
    for key, value in wanted.items():
        assert torch.equal(found[f"image_encoder.visual.{key}"], value)


def test_positions_are_resized_as_published(arrays):
    table = tensor(arrays["pos_embed_in"])[0]
    assert_within(resized_positions(table, (5, 7))[None], arrays["pos_embed_out"])


@pytest.mark.parametrize("number", range(5))
def test_maps_of_the_lower_part(arrays, features, number):
    assert_within(features[f"block_{number}"], arrays[f"feature_{number}"])


def test_class_token_between_the_parts(arrays, features):
    assert_within(features["class_token"][None], arrays["cls_token_4"])


def test_second_stream_behind_the_lower_part(arrays, encoder):
    with torch.no_grad():
        streams, _, _ = encoder.run_lower(tensor(arrays["image"]), dense=True)
    assert_within(streams.values.transpose(0, 1), arrays["vv_path_lower"])


def test_dense_map(arrays, features):
    assert_within(features["dense"], arrays["dense_embeddings"])


@pytest.mark.parametrize(
    ("bias", "wanted"),
    [
        ("attn_bias", "masked_embeddings"),
        ("attn_bias", "masked_embeddings_train"),
        ("attn_bias_one_head", "masked_embeddings_one_head"),
    ],
)
def test_embeddings_of_the_queries(arrays, encoder, features, bias, wanted):
    with torch.no_grad():
        assert_within(encoder.ask(features, tensor(arrays[bias])), arrays[wanted])


@pytest.mark.parametrize("kind", ["", "_one_head"])
def test_the_form_that_ours_is_compared_with_has_the_published_matrix(arrays, encoder, kind):
    bias = pool_bias(tensor(arrays[f"attn_bias{kind}"]), (5, 6))
    matrix = bias_matrix(bias, encoder.num_heads)
    assert_within(matrix, arrays[f"bias_matrix{kind}"])


def test_the_form_that_ours_is_compared_with_gives_the_published_embeddings(arrays, encoder):
    with torch.no_grad():
        found = ask_as_published(encoder, tensor(arrays["image"]), tensor(arrays["attn_bias"]))
    assert_within(found, arrays["masked_embeddings"])
