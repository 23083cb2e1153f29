"""PyTorch's linear layer by oneDNN gives what its own gives, with gradients."""

import numpy
import pytest
from numpy.testing import assert_allclose
from spacy_frameworks.wrappers.pytorch import processor


@pytest.mark.pytorch
@pytest.mark.parametrize("shape", [(30, 8), (5, 6, 8), (1, 8)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_gradients_in_float64s_neighbourhood(shape, has_bias):
    import torch

    if not processor.has_onednn():
        pytest.skip("this PyTorch has no oneDNN")
    from spacy_frameworks.wrappers.pytorch.linear import OneDNNLinear

    rng = numpy.random.RandomState(0)
    values = [rng.uniform(-1, 1, size) for size in (shape, (7, 8), 7)]
    dY = rng.uniform(-1, 1, (*shape[:-1], 7))
    results = []
    for dtype, function in (
        ("float32", OneDNNLinear.apply),
        ("float64", torch.nn.functional.linear),
    ):
        X, W, b = (torch.tensor(v, dtype=getattr(torch, dtype), requires_grad=True) for v in values)
        Y = function(X, W, b if has_bias else None)
        Y.backward(torch.tensor(dY, dtype=Y.dtype))
        results.append([Y.detach(), X.grad, W.grad, b.grad if has_bias else torch.zeros(1)])
    for ours, exact in zip(*results):
        assert ours.shape == exact.shape
        assert_allclose(ours, exact, atol=1e-5)


@pytest.mark.pytorch
def test_the_rule_looks_at_the_processor(monkeypatch):
    pytest.importorskip("torch")
    found = {"cpu_name": "AMD EPYC", "avx512_f": True}
    monkeypatch.setattr(processor, "capabilities", lambda: found)
    assert processor.is_faster_on_onednn() == processor.has_onednn()
    found["avx512_f"] = False
    assert not processor.is_faster_on_onednn()
    found.update(cpu_name="Intel(R) Xeon(R)", avx512_f=True)
    assert not processor.is_faster_on_onednn()
    assert not processor.has_bfloat16()
    for name in ("avx512_bf16", "amx_bf16", "bf16"):
        monkeypatch.setattr(processor, "capabilities", lambda name=name: {**found, name: True})
        assert processor.has_bfloat16()


@pytest.mark.pytorch
def test_the_processor_is_read_without_pytorchs_function_too(monkeypatch, tmp_path):
    import torch

    text = "processor\t: 0\nmodel name\t: AMD EPYC 9R14\nflags\t\t: fpu avx512f avx512_bf16\n"
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    found = processor.capabilities.__wrapped__()
    assert found["cpu_name"] == "AMD EPYC 9R14" and found["avx512_f"] and found["avx512_bf16"]
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "nothing")
    found = processor.capabilities.__wrapped__()
    assert found == {"cpu_name": "", "avx512_f": False}
