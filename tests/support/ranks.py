"""Starts the ranks of distributed tests as forks of one server that has imported everything.

Importing torch, transformers and Megatron takes longer than all that a rank of a small model
does. The server starts with the first test that needs it and ends with the test process.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import torch

# What is not installed is passed over.
PRELOADED = [
    "megatron.core.dist_checkpointing.strategies.torch",
    "megatron.core.models.gpt.gpt_layer_specs",
    "megatron.core.pipeline_parallel",
    "torch.distributed.checkpoint.hf_storage",
    "torch.distributed.fsdp",
    "torch.distributed.tensor.parallel",
    "transformers.models.llama.modeling_llama",
    "transformers.models.qwen2.modeling_qwen2",
]


def start_ranks(worker: Callable[..., None], *arguments: Any, num_ranks: int) -> None:
    """Calls ``worker(rank, *arguments)`` in each rank and waits; ``worker`` is importable."""
    torch.multiprocessing.set_forkserver_preload(PRELOADED)
    torch.multiprocessing.start_processes(
        worker, arguments, nprocs=num_ranks, start_method="forkserver"
    )


def find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
