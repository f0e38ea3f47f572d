"""The local engine's generation as an ``evaluation.sampling.Sampler``."""

from __future__ import annotations

from prorl_nemo.config import PolicyConfig
from prorl_nemo.engines.local.generate import SamplingSettings, sample_responses
from prorl_nemo.engines.local.model import load_codec, load_policy
from prorl_nemo.evaluation.sample_files import SampleMeta
from prorl_nemo.evaluation.sampling import SampleBlock, SampledText
from prorl_nemo.seeding import seeded_generator


class LocalSampler:
    """One Hugging Face model; other models get samplers of their own, one after the other."""

    def __init__(self, policy: PolicyConfig) -> None:
        self._model = load_policy(policy)
        self._codec = load_codec(policy, self._model)
        self._max_batch_tokens = policy.generation.max_batch_tokens

    def close(self) -> None:
        """Drop the model."""
        del self._model

    def sample(self, block: SampleBlock, meta: SampleMeta) -> list[list[SampledText]]:
        """Seeded by the evaluation's seed, the benchmark and the block."""
        settings = SamplingSettings(
            temperature=meta.temperature,
            top_p=meta.top_p,
            max_new_tokens=meta.max_new_tokens,
            max_batch_tokens=self._max_batch_tokens,
            eos_token_ids=self._codec.eos_token_ids,
        )
        responses = sample_responses(
            self._model,
            [self._codec.encode_prompt(problem.prompt) for problem in block.problems],
            num_samples=block.num_samples,
            settings=settings,
            generator=seeded_generator(
                f"evaluate/{meta.benchmark}",
                meta.seed,
                block.first_problem,
                block.first_sample,
                device=self._model.device.type,
            ),
        )
        return [
            [
                SampledText(
                    self._codec.decode_response(said.tokens), len(said.tokens), said.truncated
                )
                for said in group
            ]
            for group in responses
        ]
