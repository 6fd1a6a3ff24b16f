import pytest

from stseg.tools import GOOD, NOTE, WRONG
from stseg.tools.doctor.torch_build import check_gpu, check_torch, no_gpu, runs_on

BUILT = ["sm_75", "sm_80", "sm_86", "sm_90"]


@pytest.mark.parametrize(
    ("capability", "archs", "runs"),
    [
        ((9, 0), BUILT, True),
        ((8, 9), BUILT, True),  # code of a smaller minor version runs
        ((7, 0), BUILT, False),  # of a larger one does not
        ((12, 0), BUILT, False),
        ((12, 0), [*BUILT, "compute_90"], True),  # PTX is compiled for what comes later
        ((7, 0), ["compute_75"], False),
        ((10, 0), ["sm_90", "sm_100"], True),
        ((10, 3), ["sm_90a", "compute_90a"], False),  # for 9.0 and nothing else
        ((9, 0), ["sm_90a"], True),
        ((9, 0), ["gfx90a"], False),
    ],
)
def test_a_build_fits_a_gpu_or_not(capability, archs, runs):
    assert runs_on(capability, archs) is runs


def torch_facts(**changes):
    facts = {
        "version": "2.4.0",
        "cuda_build": "12.1",
        "hip_build": None,
        "gpus": [],
        "archs": BUILT,
    }
    return {"torch": facts | {"from_numpy": "", "on_cpu": "", "gpu_error": ""} | changes}


def gpu(**changes):
    card = {"name": "A card", "capability": [9, 0], "error": "", "free": 2**33, "total": 2**34}
    return card | changes


def test_a_gpu_that_works_is_described():
    (seen,) = check_gpu(torch_facts(gpus=[gpu()]))
    assert seen.status == GOOD and "A card, compute capability 9.0" in seen.text
    assert "8.0 of 16.0 GiB free, bf16" in seen.text
    (seen,) = check_gpu(torch_facts(gpus=[gpu(capability=[7, 5])]))
    assert "no bf16" in seen.text


def test_a_gpu_without_code_for_it_is_told_with_what_to_install():
    error = "AcceleratorError: CUDA error: no kernel image is available"
    good, wrong = check_gpu(torch_facts(gpus=[gpu(), gpu(capability=[12, 0], error=error)]))
    assert (good.status, wrong.status) == (GOOD, WRONG)
    assert "sm_90 only ('no kernel image')" in wrong.text and "sm_120" in wrong.cure
    (failing,) = check_gpu(torch_facts(gpus=[gpu(error="RuntimeError: out of memory")]))
    assert failing.status == WRONG and "out of memory" in failing.text


def test_why_there_is_no_gpu():
    cuda, cpu = torch_facts()["torch"], torch_facts(cuda_build=None)["torch"]
    assert no_gpu(cuda, False, None).status == no_gpu(cpu, False, None).status == GOOD
    assert "CPU build" in no_gpu(cpu, True, None).text
    old = cuda | {"gpu_error": "RuntimeError: The NVIDIA driver on your system is too old"}
    assert no_gpu(old, True, None).status == WRONG and "Update" in no_gpu(old, True, None).cure
    assert no_gpu(cuda, True, "").status == NOTE
    assert no_gpu(cuda, True, None).status == WRONG


def test_an_old_torch_beside_numpy_2_is_told():
    good, wrong = check_torch(torch_facts(from_numpy="RuntimeError: Numpy is not available"))
    assert (good.status, wrong.status) == (GOOD, WRONG)
    assert "Numpy is not available" in wrong.text and "numpy<2" in wrong.cure
    (broken,) = check_torch({"torch": {"error": "ImportError: libcudart.so.12"}})
    assert broken.status == WRONG and "libcudart" in broken.text
