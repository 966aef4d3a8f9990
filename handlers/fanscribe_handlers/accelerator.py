"""The GPU as PyTorch sees it. Importing this module imports torch."""

import torch


def device() -> torch.device:
    """The first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def free_bytes(on: torch.device) -> int:
    """Bytes of GPU memory that are free now; 0 for the CPU."""
    return int(torch.cuda.mem_get_info(on)[0]) if on.type == "cuda" else 0


def release() -> None:
    """Give cached GPU memory back to the driver."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
