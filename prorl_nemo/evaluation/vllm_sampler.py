"""vLLM as an ``evaluation.sampling.Sampler``: many long responses, on GPUs or its CPU build."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Sequence
from typing import Any

from transformers import AutoTokenizer

from prorl_nemo.evaluation.sample_files import SampleMeta
from prorl_nemo.evaluation.sampling import SampleBlock, SampledText
from prorl_nemo.prompting import encode_prompt
from prorl_nemo.tasks.base import Problem


class VllmSampler:
    """One model in vLLM; ``close`` frees its memory for the next one."""

    def __init__(
        self, model: str, *, problems: Sequence[Problem], max_new_tokens: int, precision: str
    ) -> None:
        """There is room for the longest prompt of ``problems`` and a whole response.

        Raises ValueError when vLLM is not installed or the model is not made for that length.
        """
        # Deferred: an optional installation that takes seconds to import.
        try:
            import vllm
            from vllm.platforms import current_platform
        except ImportError:
            raise ValueError(
                "prorl.evaluation.backend: vllm is not installed (the extra `vllm`)"
            ) from None
        self._vllm = vllm
        is_cpu = current_platform.is_cpu()
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        longest = max(len(encode_prompt(self._tokenizer, p.prompt)) for p in problems)
        self._llm: Any = vllm.LLM(
            model=model,
            dtype=precision,
            max_model_len=longest + max_new_tokens,
            enable_prefix_caching=True,
            # A seeded request whose prompt comes in pieces stops the CPU build: its generators
            # can't be set back ("CPU Generator does not use offset", vLLM 0.32.0).
            **({"enable_chunked_prefill": False} if is_cpu else {}),
        )

    def sample(self, block: SampleBlock, meta: SampleMeta) -> list[list[SampledText]]:
        """Every prompt has a seed of its own, so a block can be sampled again."""
        outputs = self._llm.generate(
            [
                self._vllm.TokensPrompt(
                    prompt_token_ids=encode_prompt(self._tokenizer, problem.prompt)
                )
                for problem in block.problems
            ],
            [
                self._vllm.SamplingParams(
                    n=block.num_samples,
                    temperature=meta.temperature,
                    top_p=meta.top_p,
                    max_tokens=meta.max_new_tokens,
                    seed=prompt_seed(meta, problem.problem_id, block.first_sample),
                )
                for problem in block.problems
            ],
            use_tqdm=False,
        )
        return [
            [
                SampledText(said.text, len(said.token_ids), said.finish_reason == "length")
                for said in output.outputs
            ]
            for output in outputs
        ]

    def close(self) -> None:
        """Drop the engine and what it holds."""
        del self._llm
        gc.collect()


def prompt_seed(meta: SampleMeta, problem_id: str, first_sample: int) -> int:
    """A 31-bit seed from the evaluation's seed, the benchmark, the problem and the sample."""
    key = repr((meta.seed, meta.benchmark, problem_id, first_sample)).encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:4], "little") >> 1
