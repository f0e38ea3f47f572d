"""NeMo-RL's DTensor policy worker (version 2) with ProRL's three verbs."""

from __future__ import annotations

from typing import Any

import ray
import torch
from nemo_rl.models.automodel.setup import setup_reference_model_state
from nemo_rl.models.policy.utils import get_runtime_env_for_policy_worker
from nemo_rl.models.policy.workers.dtensor_policy_worker_v2 import DTensorPolicyWorkerV2Impl

from prorl_nemo.engines.nemo.optimizer_state import clear_optimizer_state, refuse_bad_gradients
from prorl_nemo.engines.nemo.reference import StateDigest
from prorl_nemo.engines.nemo.state_digest import digest_state


class ProrlDTensorPolicyWorkerImpl(DTensorPolicyWorkerV2Impl):  # type: ignore[misc]
    """Loads a pin as its reference, forgets its optimizer, tells what it holds."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.optimizer is not None:
            refuse_bad_gradients(self.optimizer)

    @torch.no_grad()
    def load_reference(self, weights_path: str) -> None:
        """Make the checkpoint at ``weights_path`` the reference.

        The model loads it, is copied to the host, and gets the policy's weights back.
        """
        policy = setup_reference_model_state(self.model)
        self.checkpoint_manager.load_checkpoint(model=self.model, weights_path=weights_path)
        self.reference_model_state_dict = setup_reference_model_state(self.model)
        for name, value in self.model.state_dict().items():
            local = value.to_local() if hasattr(value, "to_local") else value
            local.copy_(policy[name])

    def clear_optimizer_state(self) -> None:
        """Forget moments and step counts; the learning rate is constant."""
        clear_optimizer_state(self.optimizer)

    def compute_state_digest(self) -> StateDigest:
        """Hashes of this rank's shard of policy and reference; every rank has its own."""
        reference = self.reference_model_state_dict
        return StateDigest(
            shard=(torch.distributed.get_rank(),),
            policy=digest_state(setup_reference_model_state(self.model)),
            reference=digest_state(reference) if reference is not None else None,
        )


@ray.remote(runtime_env=get_runtime_env_for_policy_worker("dtensor_policy_worker_v2"))
class ProrlDTensorPolicyWorker(ProrlDTensorPolicyWorkerImpl):
    """The Ray actor."""
