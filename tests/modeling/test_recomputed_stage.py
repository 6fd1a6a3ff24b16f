"""A stage in recomputed chunks against the stage as it stands."""

import pytest
import torch

from benchmarks.live_bytes import LiveBytes
from stseg.modeling.layers import recomputed_stage
from stseg.modeling.layers.recomputed_stage import run_recomputed
from stseg.modeling.layers.up_block import UpBlock

BATCH, CLASSES, SIZE = 2, 5, (6, 7)


def stage_and_inputs(*, text=0, attention="linear", dtype=torch.float64, classes=CLASSES):
    torch.manual_seed(0)
    stage = UpBlock(
        32,
        16,
        image_guidance_dim=8,
        score_guidance_dim=4,
        text_guidance_dim=text,
        kernel_size=5,
        attention=attention,
    ).to(dtype)
    high = (2 * SIZE[0], 2 * SIZE[1])
    shapes = [
        (BATCH * classes, 32, *SIZE),
        (BATCH, 8, *high),
        (BATCH * classes, 4, *high),
    ]
    inputs = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    guidance = torch.randn(BATCH, classes, text, dtype=dtype, requires_grad=True) if text else None
    return stage, inputs, guidance


def result_and_gradients(run, stage, inputs, guidance, pooling):
    leaves = [*inputs, *([] if guidance is None else [guidance]), *stage.parameters()]
    result = run(*inputs, pooling=pooling, text_guidance=guidance)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(result.shape, generator=generator, dtype=torch.float64).to(result)
    return [result.detach(), *torch.autograd.grad((result * weight).sum(), leaves)]


@pytest.mark.parametrize("chunk_bytes", [1, 300_000, 2**30], ids=["single", "some", "all"])
@pytest.mark.parametrize("pooling", [1, 2])
@pytest.mark.parametrize(("text", "attention"), [(0, "linear"), (6, "linear"), (0, "softmax")])
def test_chunks_give_the_result_and_gradients_of_the_stage(
    monkeypatch, text, attention, pooling, chunk_bytes
):
    monkeypatch.setitem(recomputed_stage.CHUNK_BYTES, "cpu", chunk_bytes)
    stage, inputs, guidance = stage_and_inputs(text=text, attention=attention)

    def in_chunks(*args, **kwargs):
        return run_recomputed(stage, *args, **kwargs)

    ours = result_and_gradients(in_chunks, stage, inputs, guidance, pooling)
    whole = result_and_gradients(stage, stage, inputs, guidance, pooling)
    torch.testing.assert_close(ours, whole, rtol=1e-9, atol=1e-9)


def test_the_middle_budget_makes_several_chunks_of_several_classes(monkeypatch):
    monkeypatch.setitem(recomputed_stage.CHUNK_BYTES, "cpu", 300_000)
    stage, inputs, _ = stage_and_inputs()
    assert recomputed_stage._chunk_sizes(stage, inputs[0], BATCH) == [2, 2, 1] * 2


def test_a_single_class_is_a_chunk():
    stage, inputs, _ = stage_and_inputs(classes=1)
    torch.testing.assert_close(run_recomputed(stage, *inputs, pooling=2), stage(*inputs, pooling=2))


def live_bytes(run, inputs):
    """Bytes alive after the forward pass, and the most up to the end of the backward pass."""
    with LiveBytes() as live:
        result = run(*inputs, pooling=2)
        after = live.now
        result.sum().backward()
    return after, live.peak


def test_little_is_kept_and_little_is_made_at_a_time(monkeypatch):
    monkeypatch.setitem(recomputed_stage.CHUNK_BYTES, "cpu", 1)
    stage, inputs, _ = stage_and_inputs(dtype=torch.float32, classes=40)
    kept, peak = live_bytes(lambda *args, **kwargs: run_recomputed(stage, *args, **kwargs), inputs)
    kept_whole, peak_whole = live_bytes(stage, inputs)
    assert kept < kept_whole / 5
    assert peak < peak_whole / 3


def test_under_autocast_it_is_the_stage_under_autocast():
    stage, inputs, _ = stage_and_inputs(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, whole = run_recomputed(stage, *inputs), stage(*inputs)
    assert ours.dtype == whole.dtype
    torch.testing.assert_close(ours, whole, rtol=0.05, atol=0.05)
    ours.float().sum().backward()
    assert all(p.grad.isfinite().all() for p in stage.parameters())
