"""KernelBench level 1, problem 36: RMSNorm over the channels, as the file that a solution is handed in as.

`Model` is the problem's formula; `ModelNew` is the solution: one kernel of Frieze on the current stream, into fresh memory.
    python tools/python/examples/kernelbench_36.py      compares the two, on a GPU if there is one
"""

import torch
from torch import nn

import frieze


class Model(nn.Module):
    """x / sqrt(mean over the channels of x^2 + eps)"""

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rms = torch.sqrt(torch.mean(x**2, dim=1, keepdim=True) + self.eps)
        return x / rms


class ModelNew(nn.Module):
    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = frieze.RMSNorm2d(num_features, eps, affine=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


batch_size, features, dim1, dim2 = 112, 64, 512, 512


def get_inputs():
    return [torch.rand(batch_size, features, dim1, dim2)]


def get_init_inputs():
    return [features]


if __name__ == "__main__":
    device = "cuda" if torch.cuda.is_available() and frieze.cuda_devices() else "cpu"
    x = torch.rand(2, features, 64, 64, device=device)
    expected, got = (kind(*get_init_inputs()).to(device)(x) for kind in (Model, ModelNew))
    print(f"on {device}: largest difference {(expected - got).abs().max().item():.2e}")
