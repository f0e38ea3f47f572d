"""A task of your own: problems, a reward, one line that registers it.

    python examples/custom_task.py checkpointing.checkpoint_dir=runs/digits

Everything behind the name of the task is the ordinary command: resumable training, evaluation
and report. The tiny model is warm-started on two digits and trained on up to four.
"""

import random
import sys

from prorl_nemo.cli import main
from prorl_nemo.config import TaskConfig
from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.tasks.registry import register_domain


class DigitSumTask:
    """Sum the digits of a number; 1 for the right sum, half for one that is off by one."""

    needs_isolation = False  # score() neither hangs nor runs what the model wrote

    def __init__(self, config: TaskConfig) -> None:
        self.name = config.name
        self._size = config.num_problems or 0
        self._seed = config.seed
        self._max_digits = int(str(config.params["max_digits"]))

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < self._size:
            raise IndexError(index)
        number = random.Random(self._seed + index).randrange(10**self._max_digits)
        return Problem(
            problem_id=f"{self.name}/{self._seed}/{index}",
            task=self.name,
            prompt=f"What is the sum of the digits of {number}?",
            answer=str(sum(map(int, str(number)))),
        )

    def score(self, problem: Problem, response: str) -> Score:
        said = response.strip()
        if not (said.isdecimal() and said.isascii() and len(said) < 4):
            return Score(0.0)
        distance = abs(int(said) - int(problem.answer))
        return Score({0: 1.0, 1: 0.5}.get(distance, 0.0))


def task_entry(*, seed: int, num_problems: int, max_digits: int, extra: str = "") -> str:
    return (
        f"[{{name: digit_sum, task: digit_sum, weight: 1.0, num_problems: {num_problems}, "
        f"seed: {seed}, params: {{max_digits: {max_digits}}}{extra}}}]"
    )


OVERRIDES = [
    "prorl.train_tasks=" + task_entry(seed=10**8, num_problems=10**6, max_digits=4),
    "prorl.validation.tasks=" + task_entry(seed=1, num_problems=100, max_digits=4),
    "prorl.evaluation.tasks="
    + task_entry(
        seed=10**6,
        num_problems=200,
        max_digits=4,
        extra=", role: trained, sweep_group: null, sweep_value: null",
    ),
    "prorl.tiny_model.warm_start.tasks="
    + task_entry(seed=2 * 10**8, num_problems=10**6, max_digits=2),
]

if __name__ == "__main__":
    register_domain("digit_sum", DigitSumTask)
    sys.exit(main(["train", *OVERRIDES, *sys.argv[1:]]))
