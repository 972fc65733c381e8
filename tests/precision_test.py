"""Which precision `auto` stands for."""

import pytest

from ecjax.precision import resolve

FULL = [
    "Tesla P100-PCIE-16GB", "Tesla V100-SXM2-32GB", "NVIDIA TITAN V", "NVIDIA A100-SXM4-80GB",
    "NVIDIA A100 80GB PCIe", "NVIDIA A30", "NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe",
    "NVIDIA H200", "NVIDIA GH200 480GB", "NVIDIA B200", "NVIDIA GB200", "AMD Instinct MI100",
    "AMD Instinct MI250X", "AMD Instinct MI210", "AMD Instinct MI300X", "AMD Instinct MI300A",
]  # fmt: skip
SLOW = [
    "NVIDIA GeForce RTX 4090", "NVIDIA RTX A1000", "NVIDIA RTX A3000", "NVIDIA A10", "NVIDIA A40",
    "NVIDIA L4", "NVIDIA L40S", "Tesla T4", "NVIDIA TITAN Xp", "NVIDIA H20", "NVIDIA B300",
    "NVIDIA RTX PRO 6000 Blackwell", "AMD Radeon RX 7900 XTX", "gfx1100", "",
]  # fmt: skip


@pytest.mark.parametrize("kind", FULL)
def test_gpus_with_full_rate_double_precision_use_it(kind):
    assert resolve("auto", "gpu", kind) == "float64"


@pytest.mark.parametrize("kind", SLOW)
def test_other_gpus_use_single_precision(kind):
    assert resolve("auto", "gpu", kind) == "float32"


def test_cpus_use_double_and_tpus_single_precision():
    assert resolve("auto", "cpu", "cpu") == "float64"
    assert resolve("auto", "tpu", "TPU v5 lite") == "float32"


@pytest.mark.parametrize("asked", ["float64", "float32"])
def test_what_was_asked_for_stands(asked):
    assert {resolve(asked, p, "") for p in ("cpu", "gpu", "tpu")} == {asked}
