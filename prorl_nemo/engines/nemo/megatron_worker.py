"""NeMo-RL's Megatron policy worker with ProRL's three verbs.

``Policy`` takes it by its name (``worker_extension_cls_fqn``). The class under the Ray actor is
extended, the actor itself can't be.
"""

from __future__ import annotations

from typing import Any

import ray
from megatron.core import parallel_state
from nemo_rl.models.megatron.setup import setup_reference_model_state, validate_model_paths
from nemo_rl.models.policy.utils import get_runtime_env_for_policy_worker
from nemo_rl.models.policy.workers.megatron_policy_worker import MegatronPolicyWorkerImpl

from prorl_nemo.engines.nemo.optimizer_state import clear_optimizer_state, refuse_bad_gradients
from prorl_nemo.engines.nemo.reference import StateDigest
from prorl_nemo.engines.nemo.state_digest import digest_state


class ProrlMegatronPolicyWorkerImpl(MegatronPolicyWorkerImpl):  # type: ignore[misc]
    """Loads a pin as its reference, forgets its optimizer, tells what it holds."""

    model: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.optimizer is not None:
            refuse_bad_gradients(self.optimizer)

    def load_reference(self, weights_path: str) -> None:
        """Make the Megatron checkpoint at ``weights_path`` the reference, FP8 state included.

        It may have been saved under another tensor or pipeline parallelism. The policy waits on
        the host meanwhile, as it does when NeMo-RL loads its first reference.
        """
        source = {"path": weights_path, "format": "megatron_bridge"}
        _, checkpoint, _ = validate_model_paths({**self.cfg, "pretrained_checkpoint": source})
        self.model = self.move_model(self.model, "cpu")
        self.reference_state_dict = setup_reference_model_state(
            self.cfg, self.megatron_cfg, checkpoint
        )
        self.model = self.move_model(self.model, "cuda")

    def clear_optimizer_state(self) -> None:
        """Forget moments and step counts, and begin the learning rate's warm-up again."""
        clear_optimizer_state(self.optimizer)
        self.scheduler.num_steps = 0
        self.scheduler.step(increment=0)

    def compute_state_digest(self) -> StateDigest:
        """Hashes of the shard of policy and reference that this worker holds."""
        if self.should_disable_forward_pre_hook:
            self.disable_forward_pre_hook()
        policy = digest_state(self.model.state_dict(), with_extra_state=False)
        if self.should_disable_forward_pre_hook:
            self.enable_forward_pre_hook()
        reference = getattr(self, "reference_state_dict", None)
        return StateDigest(
            shard=(
                parallel_state.get_tensor_model_parallel_rank(),
                parallel_state.get_pipeline_model_parallel_rank(),
            ),
            policy=policy,
            reference=digest_state(reference, with_extra_state=False) if reference else None,
        )


@ray.remote(runtime_env=get_runtime_env_for_policy_worker("megatron_policy_worker"))
class ProrlMegatronPolicyWorker(ProrlMegatronPolicyWorkerImpl):
    """The Ray actor."""
