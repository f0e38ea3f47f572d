"""TRL's GRPOTrainer on a configuration of this project: the same work, timed step by step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from prorl_nemo.campaign_tasks import CampaignTasks
from prorl_nemo.config_campaign import Config
from prorl_nemo.tasks.base import Problem


class Measured:
    """CPU seconds of the counted steps, and the response tokens of one side."""

    def __init__(self) -> None:
        self.marks: list[float] = []
        self.rollout_seconds = self.training_seconds = 0.0
        self.tokens = self.responses = 0

    @property
    def seconds_per_step(self) -> float:
        return (self.marks[-1] - self.marks[0]) / (len(self.marks) - 1)

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.rollout_seconds

    @property
    def tokens_per_response(self) -> float:
        return self.tokens / self.responses


def run_trl(
    config: Config, tasks: CampaignTasks, problems: Sequence[Problem], scratch: Path
) -> Measured:
    model, tokenizer = load(config)
    measured = Measured()
    updates = rows_per_step(config) // config.policy.train_global_batch_size

    def reward(
        completions: list[str], number: list[int], completion_ids: list[list[int]], **_: object
    ) -> list[float]:
        measured.tokens += sum(map(len, completion_ids))
        measured.responses += len(completion_ids)
        chosen = [problems[i] for i in number]
        return [
            tasks.scorers[problem.task].score(problem, text).reward
            for problem, text in zip(chosen, completions, strict=True)
        ]

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, args: object, state: object, control: object, **_: object) -> None:
            if state.global_step % updates == 0:  # type: ignore[attr-defined]
                measured.marks.append(time.process_time())

    texts = [as_text(tokenizer, problem) for problem in problems]
    trainer = trl.GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=trl_settings(config, len(problems), updates, scratch),
        train_dataset=Dataset.from_dict({"prompt": texts, "number": list(range(len(texts)))}),
        processing_class=tokenizer,
        callbacks=[Clock()],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return measured


def trl_settings(config: Config, prompts: int, updates: int, scratch: Path) -> trl.GRPOConfig:
    return trl.GRPOConfig(
        output_dir=str(scratch / "trl"),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=config.policy.train_global_batch_size,
        gradient_accumulation_steps=1,
        steps_per_generation=updates,
        max_steps=prompts // config.grpo.num_prompts_per_step * updates,
        num_generations=config.grpo.num_generations_per_prompt,
        max_completion_length=config.policy.generation.max_new_tokens,
        temperature=config.policy.generation.temperature,
        top_k=0,
        beta=config.loss_fn.reference_policy_kl_penalty,
        epsilon=config.loss_fn.ratio_clip_min,
        epsilon_high=config.loss_fn.ratio_clip_max,
        learning_rate=config.policy.optimizer.lr,
        lr_scheduler_type="constant",
        max_grad_norm=config.policy.max_grad_norm,
        shuffle_dataset=False,
        save_strategy="no",
        report_to="none",
        logging_steps=10_000,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def load(
    config: Config,
) -> tuple[transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase]:
    where = config.policy.model_name
    model = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(where)


def as_text(tokenizer: transformers.PreTrainedTokenizerBase, problem: Problem) -> str:
    message = [{"role": "user", "content": problem.prompt}]
    return str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))


def rows_per_step(config: Config) -> int:
    return config.grpo.num_prompts_per_step * config.grpo.num_generations_per_prompt
