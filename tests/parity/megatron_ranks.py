"""Workers of the Megatron tests: real megatron-core, gloo ranks, one layout after the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prorl_nemo.config import LossConfig
from prorl_nemo.engines.nemo.optimizer_state import clear_optimizer_state, find_torch_optimizers
from prorl_nemo.engines.nemo.state_digest import digest_state
from prorl_nemo.objective import LossInputs, Objective
from tests.support.megatron_cpu import MegatronShape, make_gpt_model, parallel_layout

SHAPE = MegatronShape()
ROWS, LENGTH, NUM_MICROBATCHES = 4, 12, 2
LAYOUTS = ((1, 1), (2, 1), (1, 2), (2, 2))
LOSS = LossConfig(
    reference_policy_kl_penalty=0.1,
    reference_policy_kl_type="k3",
    kl_input_clamp_value=20.0,
    kl_output_clamp_value=10.0,
    ratio_clip_min=0.2,
    ratio_clip_max=0.4,
    ratio_clip_c=None,
    token_level_loss=True,
    use_on_policy_kl_approximation=False,
    use_importance_sampling_correction=True,
    truncated_importance_sampling_type="tis",
    truncated_importance_sampling_ratio=2.0,
    truncated_importance_sampling_ratio_min=None,
)


def make_batch() -> dict[str, Tensor]:
    """Token ids and the loss's columns, [B, S]."""
    generator = torch.Generator().manual_seed(5)

    def normal(scale: float) -> Tensor:
        return scale * torch.randn(ROWS, LENGTH, generator=generator)

    base = normal(0.3) - 4.85  # about log(1 / 128), what an untrained model gives
    mask = torch.rand(ROWS, LENGTH, generator=generator) > 0.3
    mask[:, 0] = False
    return {
        "ids": torch.randint(0, 128, (ROWS, LENGTH), generator=generator),
        "prev": base + normal(0.2),
        "generation": base + normal(0.2),
        "reference": base + normal(0.2),
        "advantages": normal(1.0),
        "mask": mask,
    }


def vocab_parallel_logprobs(logits: Tensor, ids: Tensor) -> Tensor:
    """Log-probabilities [B, S] from a rank's slice of the vocabulary [B, S, V / TP]."""
    from megatron.core.tensor_parallel import vocab_parallel_cross_entropy

    # The function changes float32 logits in place, and wants [S, B, V].
    shifted = ids.roll(-1, dims=1).transpose(0, 1).contiguous()
    loss = vocab_parallel_cross_entropy(logits.transpose(0, 1).clone().contiguous(), shifted)
    return torch.nn.functional.pad(-loss.transpose(0, 1)[:, :-1], (1, 0))


def compute_loss(logprobs: Tensor, batch: dict[str, Tensor], rows: slice) -> Tensor:
    inputs = LossInputs(
        curr_logprobs=logprobs,
        prev_logprobs=batch["prev"][rows],
        generation_logprobs=batch["generation"][rows],
        reference_policy_logprobs=batch["reference"][rows],
        advantages=batch["advantages"][rows],
        token_mask=batch["mask"][rows],
        sample_mask=torch.ones(rows.stop - rows.start, dtype=torch.bool),
        global_valid_seqs=torch.tensor(float(ROWS)),
        global_valid_toks=batch["mask"].sum().float(),
    )
    return Objective(LOSS)(inputs).loss.loss


def forward_backward(model: Any, *, forward_only: bool = False) -> tuple[Tensor, Tensor] | None:
    """Megatron's own schedule over the microbatches: log-probs and loss on the last stage."""
    from megatron.core.pipeline_parallel import get_forward_backward_func

    batch, seen = make_batch(), []
    size = ROWS // NUM_MICROBATCHES
    parts = iter([slice(start, start + size) for start in range(0, ROWS, size)])

    def step(iterator: Any, part_model: Any) -> Any:
        rows = next(iterator)
        ids = batch["ids"][rows]
        positions = torch.arange(LENGTH).expand_as(ids)
        attention = torch.ones(1, 1, LENGTH, LENGTH, dtype=torch.bool).triu(1)
        output = part_model(ids, positions, attention)

        def loss_func(logits: Tensor) -> Any:
            logprobs = vocab_parallel_logprobs(logits, ids)
            loss = compute_loss(logprobs, batch, rows)
            seen.append((logprobs.detach(), loss.detach()))
            return loss * NUM_MICROBATCHES, {}  # Megatron divides by their number

        return output, loss_func

    get_forward_backward_func()(
        forward_step_func=step,
        data_iterator=parts,
        model=model,
        num_microbatches=NUM_MICROBATCHES,
        seq_length=LENGTH,
        micro_batch_size=size,
        forward_only=forward_only,
    )
    if not seen:
        return None
    return torch.cat([logprobs for logprobs, _ in seen]), torch.stack([x for _, x in seen]).sum()


def make_parallel_model() -> Any:
    """This rank's part, its logits left split over the vocabulary."""
    model: Any = make_gpt_model(replace(SHAPE))
    if hasattr(model, "output_layer"):
        model.output_layer.gather_output = False
    return model


def save(model: Any, directory: Path) -> None:
    from megatron.core import dist_checkpointing

    directory.mkdir(parents=True, exist_ok=True)
    torch.distributed.barrier()
    dist_checkpointing.save(model.sharded_state_dict(), str(directory))


def load(model: Any, directory: Path) -> None:
    from megatron.core import dist_checkpointing

    model.load_state_dict(
        dist_checkpointing.load(model.sharded_state_dict(), str(directory)), strict=False
    )


def check_layouts(rank: int, root: str) -> None:
    """Log-probs, loss and gradients of every layout; gradients are gathered as TP1, PP1."""
    base = Path(root) / "base"
    with parallel_layout(tp=1, pp=1):
        torch.manual_seed(0)
        save(make_parallel_model(), base)
    for tp, pp in LAYOUTS:
        directory = Path(root) / f"tp{tp}pp{pp}"
        with parallel_layout(tp=tp, pp=pp):
            model = make_parallel_model()
            load(model, base)
            result = forward_backward(model)
            if result is not None and rank == torch.distributed.get_world_size() - 1:
                torch.save(result, Path(root) / f"tp{tp}pp{pp}.pt")
            for parameter in model.parameters():
                parameter.data.copy_(parameter.grad)
            save(model, directory)
        with parallel_layout(tp=1, pp=1):
            model = make_parallel_model()
            load(model, directory)
            if rank == 0:
                torch.save(dict(model.named_parameters()), Path(root) / f"grads_tp{tp}pp{pp}.pt")


def check_reset(rank: int, root: str, tp: int, pp: int) -> None:
    """Train with the distributed optimizer, pin, take the pin as reference, clear, train on."""
    with parallel_layout(tp=tp, pp=pp):
        model, optimizer = make_training(Path(root) / "base")
        for _ in range(3):
            train_step(model, optimizer)
        pin = Path(root) / f"pin_tp{tp}pp{pp}"
        save(model.module, pin)
        reference = make_parallel_model()
        assert digest_of(reference) != digest_of(model.module)
        load(reference, pin)
        assert digest_of(reference) == digest_of(model.module)
        masters = [
            p.detach().clone() for o in find_torch_optimizers(optimizer) for p in masters_of(o)
        ]
        assert clear_optimizer_state(optimizer) > 0
        for inner in find_torch_optimizers(optimizer):
            for state in inner.state.values():
                assert float(state["step"]) == 0
                assert float(state["exp_avg"].abs().max()) == 0
                assert float(state["exp_avg_sq"].abs().max()) == 0
        kept = [p for o in find_torch_optimizers(optimizer) for p in masters_of(o)]
        assert all(torch.equal(a, b) for a, b in zip(masters, kept, strict=True))
        ours = forward_backward(model, forward_only=True)
        theirs = forward_backward(reference, forward_only=True)
        if ours is not None and theirs is not None:
            assert torch.equal(ours[0], theirs[0])  # the KL right after a reset is exactly 0
        fresh_model, fresh = make_training(pin)
        train_step(model, optimizer)
        train_step(fresh_model, fresh)
        assert digest_of(model.module) == digest_of(fresh_model.module)  # as a new optimizer
    with parallel_layout(tp=1, pp=1):
        single = make_parallel_model()
        load(single, pin)
        logprobs = forward_backward(single, forward_only=True)
        assert logprobs is not None
        if ours is not None:
            assert float((logprobs[0] - ours[0]).abs().max()) < 1e-5  # TP2's pin under TP1


def make_training(weights: Path) -> tuple[Any, Any]:
    """Megatron's DDP and distributed Adam around the model of ``weights``."""
    from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
    from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer

    torch.Tensor.type = _cuda_type  # type: ignore[method-assign]  # its buckets go by this name
    module = make_parallel_model()
    load(module, weights)
    ddp = DistributedDataParallelConfig(use_distributed_optimizer=True, overlap_grad_reduce=False)
    model = DistributedDataParallel(module.config, ddp, module)
    config = OptimizerConfig(
        optimizer="adam", lr=1e-3, weight_decay=0.0, use_distributed_optimizer=True, clip_grad=1.0
    )
    return model, get_megatron_optimizer(config, [model])


def train_step(model: Any, optimizer: Any) -> None:
    model.zero_grad_buffer()
    optimizer.zero_grad()
    forward_backward(model)
    model.finish_grad_sync()
    optimizer.step()


def masters_of(optimizer: Any) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def digest_of(model: Any) -> str:
    return digest_state(model.state_dict(), with_extra_state=False)


_type = torch.Tensor.type


def _cuda_type(self: Tensor, *arguments: Any, **options: Any) -> Any:
    answer = _type(self, *arguments, **options)
    if not isinstance(answer, str) or "cuda" in answer:
        return answer
    return answer.replace("torch.", "torch.cuda.")
