"""The benchmarks of the paper's tables by name, and where each one is.

Reasoning Gym's are not here: they are generated (`conf/paper_evaluation.yaml`). A revision is a
commit of the Hugging Face repository, or "main" where we know none; the manifest of a prepared
folder holds the SHA-256 of every file in any case.
"""

from __future__ import annotations

from collections.abc import Mapping

from prorl_nemo.data.benchmark_rows import (
    convert_gpqa,
    convert_human_eval,
    convert_ifeval,
    convert_live_code_bench,
    math_row,
    prime_row,
)
from prorl_nemo.data.sources import SOURCES, Source

EURUS = SOURCES["code"]


def _prime(name: str) -> Source:
    """PRIME's validation problems from one site, as the paper takes them."""
    return Source(
        task=name,
        repository=EURUS.repository,
        revision=EURUS.revision,
        files=("validation.parquet",),
        licence=EURUS.licence,
        num_problems=None,
        convert=prime_row(name),
    )


_BENCHMARKS = (
    Source(
        task="aime24",
        repository="HuggingFaceH4/aime_2024",
        revision="2fe88a2f1091d5048c0f36abc874fb997b3dd99a",
        files=("data/train-00000-of-00001.parquet",),
        licence="statements belong to the MAA",
        num_problems=30,
        convert=math_row(),
    ),
    Source(
        task="aime25",
        repository="math-ai/aime25",
        revision="563bb8404243c5f09de6ec262f2db674fe5bce9b",
        files=("test.jsonl",),
        licence="statements belong to the MAA",
        num_problems=30,
        convert=math_row(),
    ),
    Source(
        task="amc",
        repository="AI-MO/aimo-validation-amc",
        revision="main",
        files=("data/train-00000-of-00001.parquet",),
        licence="statements belong to the MAA",
        num_problems=83,
        convert=math_row(),
    ),
    Source(
        task="math500",
        repository="HuggingFaceH4/MATH-500",
        revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
        files=("test.jsonl",),
        licence="MIT",
        num_problems=500,
        convert=math_row(),
    ),
    Source(
        task="minerva",
        repository="math-ai/minervamath",
        revision="main",
        files=("test.jsonl",),
        licence="see the repository",
        num_problems=272,
        convert=math_row("question"),
    ),
    Source(
        task="olympiadbench",
        repository="Hothan/OlympiadBench",
        revision="91184b52131e7fc9455fef848035173aea8cc01a",
        files=("OlympiadBench/OE_TO_maths_en_COMP/OE_TO_maths_en_COMP.parquet",),
        licence="Apache-2.0",
        num_problems=674,
        convert=math_row("question", "final_answer"),
    ),
    *map(_prime, ("apps", "codecontests", "codeforces", "taco")),
    Source(
        task="humaneval",
        repository="openai/openai_humaneval",
        revision="7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",
        files=("openai_humaneval/test-00000-of-00001.parquet",),
        licence="MIT",
        num_problems=164,
        convert=convert_human_eval,
    ),
    Source(
        task="humanevalplus",
        repository="evalplus/humanevalplus",
        revision="main",
        files=("data/test-00000-of-00001-5973903632b82d40.parquet",),
        licence="Apache-2.0",
        num_problems=164,
        convert=convert_human_eval,
    ),
    Source(
        task="livecodebench",
        repository="livecodebench/code_generation_lite",
        revision="0fe84c3912ea0c4d4a78037083943e8f0c4dd505",
        files=("test5.jsonl",),
        licence="statements belong to their sites",
        num_problems=None,
        convert=convert_live_code_bench,
        notice="it is what release v5 added; the paper doesn't say which problems it took.",
    ),
    Source(
        task="gpqa",
        repository="Idavidrein/gpqa",
        revision="633f5ee89ab8ad4522a9f850766b73f62147ffdd",
        files=("gpqa_diamond.csv",),
        licence="CC BY 4.0",
        num_problems=198,
        convert=convert_gpqa,
        notice="it is gated: accept its terms on Hugging Face, set HF_TOKEN, don't publish it.",
    ),
    Source(
        task="ifeval",
        repository="google/IFEval",
        revision="966cd89545d6b6acfd7638bc708b98261ca58e84",
        files=("ifeval_input_data.jsonl",),
        licence="Apache-2.0",
        num_problems=541,
        convert=convert_ifeval,
    ),
)

BENCHMARKS: Mapping[str, Source] = {source.task: source for source in _BENCHMARKS}
