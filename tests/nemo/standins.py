"""In-process CPU stand-ins for NeMo-RL's policy and generation workers, and for nothing else.

They keep the workers' contracts: what ``train`` divides by, which metrics come back in which
shape (through pickle, as from another process), where checkpoints lie, and that generation
uses the weights of the last refit. The model is a small float64 recurrence.
"""

from __future__ import annotations

import hashlib
import pickle
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import torch
from nemo_rl.distributed.batched_data_dict import BatchedDataDict
from nemo_rl.models.generation.interfaces import GenerationInterface
from nemo_rl.models.policy.interfaces import ColocatablePolicyInterface
from torch import Tensor, nn

from prorl_nemo.engines.nemo.optimizer_state import clear_optimizer_state, refuse_bad_gradients
from prorl_nemo.engines.nemo.reference import StateDigest
from prorl_nemo.engines.nemo.state_digest import digest_state
from tests.nemo.letters import EOS, PAD, LetterModel, next_token_logprobs


class CpuPolicy(ColocatablePolicyInterface):  # type: ignore[misc]
    """Megatron's policy worker group, as one process."""

    def __init__(self, *, global_batch: int, micro_batch: int = 3, lr: float = 0.05) -> None:
        self.model, self.global_batch, self.micro_batch = LetterModel(), global_batch, micro_batch
        self.reference = {name: v.clone() for name, v in self.model.state_dict().items()}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=lr, weight_decay=0.0)
        refuse_bad_gradients(self.optimizer)
        self.calls: list[str] = []
        self.advantages: list[Tensor] = []
        self.losses: list[float] = []

    def train(self, data: Any, loss_fn: Any, eval_mode: bool = False, **_: Any) -> dict[str, Any]:
        num_batches = data.size // self.global_batch
        losses, metrics, norm = [], defaultdict(list), torch.tensor(0.0)
        self.advantages.append((data["advantages"] * data["token_mask"]).double())
        for index in range(num_batches):
            batch = data.slice(index * self.global_batch, (index + 1) * self.global_batch)
            mask = batch["token_mask"][:, 1:] * batch["sample_mask"][:, None]
            counts = batch["sample_mask"].sum(), mask.sum()
            self.optimizer.zero_grad()
            total = 0.0
            for start in range(0, self.global_batch, self.micro_batch):
                part = batch.slice(start, min(start + self.micro_batch, self.global_batch))
                logprobs = next_token_logprobs(self.model, part["input_ids"])
                loss, given = loss_fn(logprobs, part, *counts)
                loss.backward()
                total += float(loss)
                given = pickle.loads(pickle.dumps({**given, "lr": 0.05}))
                given |= {
                    "global_valid_seqs": float(counts[0]),
                    "global_valid_toks": float(counts[1]),
                }
                for name, value in given.items():
                    metrics[name].append(_divide(name, value, num_batches))
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            losses.append(total)
        self.losses += losses
        return {
            "loss": torch.tensor(losses, dtype=torch.float64),
            "grad_norm": norm[None],
            "all_mb_metrics": dict(metrics),
        }

    def get_logprobs(self, data: Any, timer: Any = None) -> Any:
        return BatchedDataDict({"logprobs": self._logprobs(data["input_ids"])})

    def get_reference_policy_logprobs(self, data: Any, **_: Any) -> Any:
        policy = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.reference)
        logprobs = self._logprobs(data["input_ids"])
        self.model.load_state_dict(policy)
        return BatchedDataDict({"reference_logprobs": logprobs})

    @torch.no_grad()
    def _logprobs(self, ids: Tensor) -> Tensor:
        return nn.functional.pad(next_token_logprobs(self.model, ids), (1, 0))

    def save_checkpoint(
        self, weights_path: str, optimizer_path: str | None = None, **_: Any
    ) -> None:
        Path(weights_path).mkdir(parents=True)
        torch.save(self.model.state_dict(), Path(weights_path) / "model.pt")
        if optimizer_path is not None:
            Path(optimizer_path).mkdir(parents=True)
            torch.save(self.optimizer.state_dict(), Path(optimizer_path) / "optimizer.pt")

    def start_from(self, weights: Path, optimizer: Path | None) -> None:
        self.model.load_state_dict(torch.load(weights / "model.pt"))
        if optimizer is not None:
            self.optimizer.load_state_dict(torch.load(optimizer / "optimizer.pt"))

    def run_all_workers_single_data(self, method_name: str, *args: Any, **kwargs: Any) -> Any:
        """The answer of the only worker, called as NeMo-RL's worker group calls Ray's actors."""
        self.calls.append(method_name)
        assert not args, "RayWorkerGroup.run_all_workers_single_data refuses them"
        return [getattr(self, method_name)(**kwargs)]

    def load_reference(self, weights_path: str) -> None:
        self.reference = torch.load(Path(weights_path) / "model.pt")

    def clear_optimizer_state(self) -> None:
        clear_optimizer_state(self.optimizer)

    def compute_state_digest(self) -> StateDigest:
        return StateDigest(
            (0,), digest_state(self.model.state_dict()), digest_state(self.reference)
        )

    def shutdown(self) -> bool:
        self.calls.append("shutdown")
        return True

    def get_free_memory_bytes(self) -> int:
        return 2**30

    def _note(self, name: str) -> list[Any]:
        self.calls.append(name)
        return []

    def prepare_for_training(self, *_: Any, **__: Any) -> None:
        self._note("prepare_for_training")

    def prepare_for_lp_inference(self) -> None:
        self._note("prepare_for_lp_inference")

    def offload_before_refit(self) -> None:
        self._note("offload_before_refit")

    def offload_after_refit(self) -> None:
        self._note("offload_after_refit")

    def stream_weights_via_ipc_zmq(self, *_: Any, **__: Any) -> list[Any]:
        return self._note("stream_weights")

    def finish_training(self, *_: Any, **__: Any) -> None: ...
    def prepare_refit_info(self) -> None: ...
    def init_collective(self, *_: Any, **__: Any) -> list[Any]: ...
    def broadcast_weights_for_collective(self, *_: Any, **__: Any) -> list[Any]: ...
    def get_topk_logits(self, *_: Any, **__: Any) -> Any: ...
    def calibrate_qkv_fp8_scales(self, *_: Any, **__: Any) -> Any: ...


class CpuGeneration(GenerationInterface):  # type: ignore[misc]
    """vLLM's engines, as one process. The random numbers depend on the prompts alone."""

    def __init__(self, policy: CpuPolicy, *, max_new_tokens: int, is_async: bool = False) -> None:
        self._policy, self._max_new_tokens = policy, max_new_tokens
        self.model = LetterModel()
        self.is_awake = False
        self.cfg = {"backend": "vllm", "vllm_cfg": {"async_engine": is_async}}
        self._num_async_calls = 0
        nn.init.zeros_(self.model.head)  # dummy weights until the first refit

    def update_weights_via_ipc_zmq(self) -> list[Any]:
        self.model.load_state_dict(self._policy.model.state_dict())
        return []

    def generate(self, data: Any, greedy: bool) -> Any:
        assert not greedy
        return self._generate(data, self._generator(data["input_ids"]))

    async def generate_async(self, data: Any, greedy: bool) -> AsyncIterator[tuple[int, Any]]:
        assert not greedy
        assert data.size == 1, "NeMo-RL's asynchronous rollout asks for one response at a time"
        self._num_async_calls += 1
        generator = torch.Generator().manual_seed(self._num_async_calls)
        yield 0, self._generate(data, generator)

    @torch.no_grad()
    def _generate(self, data: Any, generator: torch.Generator) -> Any:
        assert self.is_awake
        rows = [
            self._sample(ids[:length].tolist(), generator)
            for ids, length in zip(data["input_ids"], data["input_lengths"].tolist(), strict=True)
        ]
        prompt_lengths, lengths = data["input_lengths"], torch.tensor([len(r[0]) for r in rows])
        width = int(lengths.max())
        output = {
            "output_ids": [
                nn.functional.pad(torch.tensor(r[0]), (0, width - len(r[0]))) for r in rows
            ],
            "logprobs": [
                nn.functional.pad(torch.tensor(r[1], dtype=torch.float64), (0, width - len(r[1])))
                for r in rows
            ],
        }
        return BatchedDataDict(
            {name: torch.stack(values) for name, values in output.items()}
            | {
                "generation_lengths": lengths - prompt_lengths,
                "unpadded_sequence_lengths": lengths,
                "truncated": torch.tensor([row[0][-1] != EOS for row in rows]),
            }
        )

    def _sample(self, ids: list[int], generator: torch.Generator) -> tuple[list[int], list[float]]:
        ids, logprobs = list(ids), [0.0] * len(ids)
        for _ in range(self._max_new_tokens):
            distribution = self.model(torch.tensor([ids]))[0, -1].log_softmax(dim=-1)
            distribution[PAD] = -torch.inf
            token = int(torch.multinomial(distribution.exp(), 1, generator=generator))
            ids.append(token)
            logprobs.append(float(distribution[token]))
            if token == EOS:
                break
        return ids, logprobs

    def _generator(self, ids: Tensor) -> torch.Generator:
        digest = digest_state({"ids": ids})
        number = int(hashlib.sha256(digest.encode()).hexdigest()[:15], 16)
        return torch.Generator().manual_seed(number)

    def prepare_for_generation(self, *_: Any, tags: Any = None, **__: Any) -> bool:
        self.is_awake = True
        return True

    def finish_generation(self, *_: Any, **__: Any) -> bool:
        self.is_awake = False
        return True

    def init_collective(self, *_: Any, **__: Any) -> list[Any]: ...
    def shutdown(self) -> bool:
        return True


def _divide(name: str, value: Any, count: int) -> Any:
    if "_min" in name or "_max" in name:
        return value
    return [v / count for v in value] if isinstance(value, list) else value / count
