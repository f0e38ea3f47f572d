"""vLLM samples what the settings say: the distribution, the nucleus, and the same again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy import stats
from transformers import AutoModelForCausalLM, AutoTokenizer

from prorl_nemo.evaluation.sample_files import SampleMeta
from prorl_nemo.evaluation.sampling import SampleBlock
from prorl_nemo.evaluation.vllm_sampler import VllmSampler
from prorl_nemo.prompting import encode_prompt
from prorl_nemo.tasks.base import Problem
from tests.support.tiny_policy import write_tiny_policy

pytestmark = [pytest.mark.vllm, pytest.mark.slow]
PROMPT, NUM_SAMPLES = "abc", 16
PROBLEMS = [Problem(f"p{i}", "toy", PROMPT, "") for i in range(128)]
META = SampleMeta(
    model="base", model_order=0, step=None, benchmark="toy", task="toy", role="trained",
    sweep_value=None, sweep_group=None, num_problems=len(PROBLEMS), num_samples=NUM_SAMPLES,
    temperature=0.8, top_p=1.0, max_new_tokens=1, seed=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # vLLM's CPU build has no kernel for heads of less than 32.
    directory = tmp_path_factory.mktemp("model") / "tiny"
    return write_tiny_policy(directory, seed=3, spread=0.1, hidden_size=64)


@pytest.fixture(scope="module")
def sampler(model: Path) -> Iterator[VllmSampler]:
    pytest.importorskip("vllm")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        environment.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        sampler = VllmSampler(str(model), problems=PROBLEMS, max_new_tokens=16, precision="float32")
        yield sampler
        sampler.close()


@pytest.fixture(scope="module")
def probabilities(model: Path) -> torch.Tensor:
    """transformers' distribution of the first token at META's temperature, [V]."""
    ids = torch.tensor([encode_prompt(AutoTokenizer.from_pretrained(model), PROMPT)])
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(model)(ids).logits[0, -1]
    return torch.softmax(logits / META.temperature, dim=-1)


def sample(sampler: VllmSampler, meta: SampleMeta) -> Counter[str]:
    block = SampleBlock(PROBLEMS, 0, 0, NUM_SAMPLES)
    return Counter(said.text for group in sampler.sample(block, meta) for said in group)


def texts(model: Path, size: int) -> list[str]:
    tokenizer = AutoTokenizer.from_pretrained(model)
    return [tokenizer.decode([i], skip_special_tokens=True) for i in range(size)]


def test_first_tokens_follow_the_distribution_of_transformers(
    sampler: VllmSampler, model: Path, probabilities: torch.Tensor
) -> None:
    counts = sample(sampler, META)
    total = counts.total()
    assert total == len(PROBLEMS) * NUM_SAMPLES
    expected: Counter[str] = Counter()
    for text, chance in zip(texts(model, len(probabilities)), probabilities.tolist(), strict=True):
        expected[text] += chance * total
    common = [text for text, count in expected.items() if count >= 5]
    rest = total - sum(expected[text] for text in common)
    seen = [counts[text] for text in common]
    # One cell for all rare tokens.
    test = stats.chisquare([*seen, total - sum(seen)], [*(expected[t] for t in common), rest])
    assert len(common) >= 5
    assert test.pvalue > 1e-4


def test_nothing_outside_the_nucleus(
    sampler: VllmSampler, model: Path, probabilities: torch.Tensor
) -> None:
    ordered, order = probabilities.sort(descending=True)
    inside = order[ordered.cumsum(0) - ordered < 0.5].tolist()
    names = texts(model, len(probabilities))
    counts = sample(sampler, replace(META, top_p=0.5))
    assert set(counts) == {names[i] for i in inside}


def test_a_block_can_be_sampled_again_and_samples_vary(sampler: VllmSampler) -> None:
    meta = replace(META, max_new_tokens=8)
    whole = sampler.sample(SampleBlock(PROBLEMS[:4], 0, 0, NUM_SAMPLES), meta)
    assert sampler.sample(SampleBlock(PROBLEMS[:4], 0, 0, NUM_SAMPLES), meta) == whole
    assert sampler.sample(SampleBlock(PROBLEMS[2:4], 2, 0, NUM_SAMPLES), meta) == whole[2:]
    later = sampler.sample(SampleBlock(PROBLEMS[:4], 0, NUM_SAMPLES, NUM_SAMPLES), meta)
    assert later != whole
    assert all(len(set(group)) > NUM_SAMPLES // 2 for group in whole)
