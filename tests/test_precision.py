"""What a device computes well in, and what follows from it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_cells import use_toy_data

from sesn_lib.experiments.mnist_scale import Cell
from sesn_lib.experiments.settings import RunOptions
from sesn_lib.fast import precision
from sesn_lib.runner import execution
from sesn_lib.runner.cost import Estimator
from sesn_lib.runner.heartbeat import warn_if_slow
from sesn_lib.store.records import Store
from sesn_lib.training.state import autocast

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
CELL = Cell("mnist_cnn_28", 0.5, 1)


@pytest.fixture(params=[True, False], ids=["units", "no units"])
def units(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(precision, "has_bf16_units", lambda device: request.param)
    return bool(request.param)


def test_auto_is_bf16_where_there_are_units_and_float32_elsewhere(units: bool) -> None:
    assert precision.resolve("auto", CPU) == ("bf16" if units else "float32")
    assert precision.precisions_on(CPU) == (("float32", "bf16") if units else ("float32",))
    for name in ("float32", "bf16"):
        assert precision.resolve(name, CPU) == name, "what is asked for is done"
    for name, enabled in (("auto", units), ("float32", False), ("bf16", True)):
        with autocast(CPU, name):
            assert torch.is_autocast_enabled("cpu") is enabled


def test_bf16_without_units_is_said_to_be_slow_in_one_line(units: bool, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("auto", "float32", "bf16"):
        warn_if_slow(name, "cpu")
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == (name == "bf16" and not units)
        assert all("bf16 will be slow" in line for line in lines)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision is 'fp8': it must be one of auto, float32, bf16"):
        precision.resolve("fp8", CPU)


@pytest.mark.slow
def test_a_record_holds_the_precision_that_auto_came_to(
    units: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_toy_data(monkeypatch)
    chosen = RunOptions(epochs=1, batch_size=24, device="cpu")
    auto, named, other = (
        execution.run_cell(CELL, replace(chosen, precision=name))
        for name in ("auto", *(("bf16", "float32") if units else ("float32", "bf16")))
    )
    assert auto["protocol"] == named["protocol"] != other["protocol"]
    losses = [record["history"][0]["train_loss"] for record in (auto, named, other)]
    assert losses[0] == losses[1] != losses[2]
    store = Store(tmp_path)
    for realization, record in enumerate((named, other)):
        seconds = 1.0 + 99 * realization
        store.write(
            {
                **record,
                "cell": Cell(CELL.model, CELL.extra_scaling, realization).as_dict(),
                "timing": {**record["timing"], "evaluation_seconds": seconds},
                "history": [{**epoch, "seconds": seconds} for epoch in record["history"]],
            }
        )
    estimates = [
        Estimator(tmp_path, RunOptions(device="cpu", precision=name))(CELL)
        for name in ("auto", named["protocol"]["precision"], other["protocol"]["precision"])
    ]
    assert estimates[0] == estimates[1] != estimates[2], "the time is that of runs in the same precision"


@pytest.mark.parametrize(
    ("lacking", "environment", "units"),
    [
        ("nothing", {}, True),
        ("the processor", {}, False),
        ("AVX-512 in torch", {}, False),
        ("oneDNN", {}, False),
        ("x86", {}, False),
        ("nothing", {"ONEDNN_MAX_CPU_ISA": "avx2"}, False),
        ("nothing", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, True),
        ("nothing", {"DNNL_MAX_CPU_ISA": "AVX512_CORE"}, False),
        ("nothing", {"ONEDNN_MAX_CPU_ISA": "ALL", "DNNL_MAX_CPU_ISA": "AVX2"}, True),
    ],
)
def test_what_a_processor_must_have(
    monkeypatch: pytest.MonkeyPatch, lacking: str, environment: dict[str, str], units: bool
) -> None:
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("platform.machine", lambda: "arm64" if lacking == "x86" else "AMD64")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: lacking != "oneDNN")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: lacking != "the processor")
    capability = "AVX2" if lacking == "AVX-512 in torch" else "AVX512"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    found = importlib.util.find_spec("sesn_lib.fast.precision")
    assert found is not None
    assert found.loader is not None
    fresh = importlib.util.module_from_spec(found)  # which has asked nothing yet
    found.loader.exec_module(fresh)
    assert fresh.has_bf16_units("cpu") is units


@pytest.mark.slow
def test_a_processor_has_units_unless_it_is_held_to_less() -> None:
    names = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
    if not any(name in os.environ for name in names):
        flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
        assert precision.has_bf16_units("cpu") is ("avx512_bf16" in flags)
    held = {**os.environ, "ONEDNN_MAX_CPU_ISA": "avx2", "ATEN_CPU_CAPABILITY": "avx2"}
    code = "from sesn_lib.fast.precision import has_bf16_units; print(has_bf16_units('cpu'))"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=held, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


@pytest.mark.parametrize(("capability", "units"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_has_units_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], units: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert precision.has_bf16_units("cuda:0") is units


def test_a_product_is_the_sum_of_exact_products_rounded_once_with_units_and_without(units: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(3, 17, 50, generator=generator).bfloat16().requires_grad_()
    b = torch.randn(3, 50, 9, generator=generator).bfloat16().requires_grad_()
    exact = a.detach().double() @ b.detach().double()
    product = precision.matmul(a, b)
    assert product.dtype is torch.bfloat16
    # Half a unit in the last of eight bits is up to 2^-8, and float32's rounding of the sum.
    torch.testing.assert_close(product.double(), exact, rtol=1.01 * 2**-8, atol=1e-5)
    grad = torch.randn(3, 17, 9, generator=generator).bfloat16()
    grads = torch.autograd.grad(product, (a, b), grad)
    wanted = grad.double() @ b.detach().double().mT, a.detach().double().mT @ grad.double()
    for found, one in zip(grads, wanted):
        assert found.dtype is torch.bfloat16
        torch.testing.assert_close(found.double(), one, rtol=1.01 * 2**-8, atol=1e-5)
    full = precision.matmul(a.float(), b.float())
    assert full.dtype is torch.float32
    assert not torch.equal(full, product.float()), "the control: there is something to round"
