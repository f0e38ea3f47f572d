"""Ten thousand rewards, one in twenty of them hostile: bounded time, order, full account."""

import time

import pytest
from reward_pool_tasks import ObedientTask

from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.tasks.reward_pool import RewardPool

NUM_ITEMS = 10_000
NUM_WORKERS = 4
TIMEOUT_SECONDS = 0.5
HOSTILE = (
    ("hang", "timeout"),
    ("hang_in_c", "timeout"),
    ("crash", "verifier_died"),
    ("exit", "verifier_died"),
    ("raise", "verifier_error"),
    ("raise_base", "verifier_error"),
    ("value inf", "reward_out_of_range"),
    ("fail no_verdict", "no_verdict"),
    ("unheard_of", "verifier_error"),
    ("value", "verifier_error"),
)


def make_item(index: int) -> tuple[str, Score]:
    """A response and the score it must get; an honest reward is the item's own number."""
    if index % 20 == 0:
        command, failure = HOSTILE[index // 20 % len(HOSTILE)]
        return command, Score(0.0, failure)
    return f"value {index / NUM_ITEMS}", Score(index / NUM_ITEMS)


@pytest.mark.slow
def test_every_result_is_accounted_for_in_order_and_in_time() -> None:
    names = ("one", "two", "cheap")
    tasks = [ObedientTask(name, needs_isolation=name != "cheap") for name in names]
    # Cheap tasks run no model text: their hostile items go to a task that is isolated.
    task_of = [names[index % 3 if index % 20 else index // 20 % 2] for index in range(NUM_ITEMS)]
    items = [make_item(index) for index in range(NUM_ITEMS)]
    problems = [Problem(str(index), name, "", "") for index, name in enumerate(task_of)]
    responses = [response for response, _ in items]
    with RewardPool(tasks, num_workers=NUM_WORKERS, timeout_seconds=TIMEOUT_SECONDS) as pool:
        started = time.monotonic()
        scores = pool.score_all(list(zip(problems, responses, strict=True)))
        seconds = time.monotonic() - started
        metrics = pool.take_metrics()
    assert scores == [score for _, score in items]
    assert {name: task.num_scored for name, task in metrics.tasks.items()} == {
        name: task_of.count(name) for name in names
    }
    failures = [score.failure for _, score in items if score.failure is not None]
    assert sum(task.num_failures for task in metrics.tasks.values()) == len(failures) == 500
    num_timeouts = failures.count("timeout")
    assert sum(task.num_timeouts for task in metrics.tasks.values()) == num_timeouts == 100
    assert metrics.num_worker_restarts >= num_timeouts + 3 * failures.count("verifier_died")
    assert seconds < 10 * num_timeouts * TIMEOUT_SECONDS / NUM_WORKERS
