"""One campaign on a mixture of all five domains, with every domain's real verifier."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prorl_nemo.campaign import run_campaign
from prorl_nemo.config_campaign import Config
from prorl_nemo.config_loading import load_config
from prorl_nemo.engines.local.build import LocalEngineBuilder
from prorl_nemo.run_history import read_metrics
from prorl_nemo.run_requests import RunRequests
from prorl_nemo.tasks.sandbox_probe import check_sandbox

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not check_sandbox().is_usable, reason=check_sandbox().message),
]

PROGRAM = "```python\nprint(input())\n```"
DOMAINS = {
    "math": [{"prompt": f"{i}+1?", "answer": rf"\boxed{{{i + 1}}}"} for i in range(4)],
    "stem": [{"prompt": f"Choice {c}?", "answer": rf"\boxed{{{c}}}"} for c in "ABCD"],
    "code": [
        {
            "prompt": f"Echo {i}",
            "answer": PROGRAM,
            "metadata": {"tests": {"inputs": [f"{i}\n"], "outputs": [f"{i}\n"]}},
        }
        for i in range(2)
    ],
    "instructions": [
        {
            "prompt": f"Avoid commas {i}",
            "answer": "none",
            "metadata": {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
        }
        for i in range(2)
    ],
}


def test_a_mixture_of_all_five_domains_trains_with_real_rewards(tmp_path: Path) -> None:
    config = five_domain_config(tmp_path)
    outcome = run_campaign(
        config,
        tmp_path / "run",
        build_engine=LocalEngineBuilder(tmp_path / "run", lambda step, loss: None),
        requests=RunRequests(tmp_path / "run"),
    )

    assert outcome == "finished"
    steps = [row for row in read_metrics(tmp_path / "run") if row["step"] > 0]
    assert len(steps) == 2
    for row in steps:
        assert row["num_updates"] == 2
        assert row["scorer_failure_rate"] == 0.0
    mean = {
        name: sum(row["task_rewards"][name] for row in steps) / len(steps)
        for name in ("math", "stem", "code", "instructions", "logic")
    }
    # The model has seen the worked answers, so each verifier must accept some of what it says.
    assert all(reward > 0.0 for reward in mean.values()), mean


def five_domain_config(root: Path) -> Config:
    tasks = [write_domain(root, name) for name in DOMAINS]
    tasks.append(
        {
            "name": "logic",
            "task": "reasoning_gym/count_bits",
            "weight": 1.0,
            "num_problems": 4,
            "seed": 1,
            "params": {"answer_format": "whole_response", "config": {"min_n": 1, "max_n": 3}},
        }
    )
    listed = json.dumps(tasks)
    return load_config(
        Path("conf/local.yaml"),
        [
            f"checkpointing.checkpoint_dir={root / 'run'}",
            "logger.tensorboard_enabled=false",
            "grpo.num_prompts_per_step=20",
            "grpo.num_generations_per_prompt=4",
            "grpo.val_period=0",
            "grpo.val_at_start=false",
            "policy.train_global_batch_size=40",
            "policy.max_total_sequence_length=128",
            "policy.generation.max_new_tokens=48",
            "policy.generation.temperature=1.0",
            f"prorl.train_tasks={listed}",
            "prorl.validation.tasks=[]",
            "prorl.reset.patience=null",
            "prorl.evaluation.tasks=[]",
            "prorl.evaluation.intermediate_step=0",
            # Every group counts: that all five domains are trained on is what is shown here.
            "prorl.dynamic_sampling.enabled=false",
            "prorl.schedule=[{name: only, num_steps: 2, reset_at_start: false, overrides: {}}]",
            "prorl.tiny_model.hidden_size=64",
            "prorl.tiny_model.num_hidden_layers=2",
            "prorl.tiny_model.intermediate_size=128",
            "prorl.tiny_model.warm_start.num_steps=150",
            "prorl.tiny_model.warm_start.batch_size=20",
            "prorl.tiny_model.warm_start.lr=5.0e-3",
            f"prorl.tiny_model.warm_start.tasks={listed}",
        ],
    )


def write_domain(root: Path, name: str) -> dict[str, object]:
    path = root / f"{name}.jsonl"
    rows = [
        {"problem_id": f"{name}/{i}", "metadata": {}, **row} for i, row in enumerate(DOMAINS[name])
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {
        "name": name,
        "task": name,
        "weight": 1.0,
        "num_problems": None,
        "seed": 0,
        "params": {"path": str(path)},
    }
