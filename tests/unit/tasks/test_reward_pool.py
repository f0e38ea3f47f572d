import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from reward_pool_tasks import ObedientTask, SlowToLoadTask, UnloadableTask

from prorl_nemo.tasks.base import Problem, Score
from prorl_nemo.tasks.reward_launcher import RewardPoolError
from prorl_nemo.tasks.reward_pool import RewardPool

TIMEOUT_SECONDS = 1.0


@pytest.fixture(scope="module")
def pool() -> Iterator[RewardPool]:
    tasks = [ObedientTask("isolated"), ObedientTask("cheap", needs_isolation=False)]
    with RewardPool(tasks, num_workers=2, timeout_seconds=TIMEOUT_SECONDS) as pool:
        yield pool


def item(response: str, task: str = "isolated") -> tuple[Problem, str]:
    return Problem(f"{task}-0", task, "obey", ""), response


def test_scores_come_in_the_order_of_submission(pool: RewardPool) -> None:
    waits = [item("wait 0.2"), item("value 0.25"), item("wait 0.05"), item("value 0.75", "cheap")]
    assert pool.score_all(waits) == [Score(0.5), Score(0.25), Score(0.5), Score(0.75)]


def test_a_verifier_is_loaded_before_the_first_clock_starts() -> None:
    with RewardPool([SlowToLoadTask("isolated")], num_workers=1, timeout_seconds=1.0) as pool:
        assert pool.score_all([item("value 1")]) == [Score(1.0)]


def test_submission_does_not_wait_for_the_score(pool: RewardPool) -> None:
    started = time.monotonic()
    future = pool.submit(*item("wait 0.5"))
    assert time.monotonic() - started < 0.3
    assert future.result() == Score(0.5)


def test_cheap_tasks_are_scored_here_and_others_elsewhere(pool: RewardPool) -> None:
    here, elsewhere = pool.score_all([item("pid", "cheap"), item("pid")])
    assert here.reward == os.getpid() / 2**32
    assert elsewhere.reward != here.reward


@pytest.mark.parametrize("command", ["hang", "hang_in_c"])
def test_a_stuck_verifier_is_killed_and_its_neighbours_are_scored(
    pool: RewardPool, command: str
) -> None:
    started = time.monotonic()
    scores = pool.score_all([item(command), item("value 0.25"), item("value 1")])
    assert scores == [Score(0.0, "timeout"), Score(0.25), Score(1.0)]
    assert time.monotonic() - started < 5 * TIMEOUT_SECONDS


@pytest.mark.parametrize(
    ("command", "failure"),
    [
        ("crash", "verifier_died"),
        ("exit", "verifier_died"),
        ("raise", "verifier_error"),
        ("raise_base", "verifier_error"),
        ("value nan", "reward_out_of_range"),
        ("value 1.5", "reward_out_of_range"),
        ("fail truncated_reasoning", "truncated_reasoning"),
    ],
)
def test_a_failing_verifier_gives_zero_and_names_the_failure(
    pool: RewardPool, command: str, failure: str
) -> None:
    assert pool.score_all([item(command), item("value 1")]) == [Score(0.0, failure), Score(1.0)]


def test_an_error_of_a_cheap_task_is_a_zero_too(pool: RewardPool) -> None:
    assert pool.score_all([item("raise", "cheap")]) == [Score(0.0, "verifier_error")]


def test_a_response_whose_worker_died_is_scored_again(pool: RewardPool, tmp_path) -> None:
    assert pool.score_all([item(f"crash_once {tmp_path / 'seen'}")]) == [Score(1.0)]


def test_a_giant_response_is_scored(pool: RewardPool) -> None:
    assert pool.score_all([item("value 0.5" + " " * 2_000_000)]) == [Score(0.5)]


def test_workers_have_not_loaded_torch(pool: RewardPool) -> None:
    import torch  # noqa: F401  # so that a forked copy of this process would show it

    assert pool.score_all([item("torch")]) == [Score(0.0)]


def test_metrics_count_by_task_and_start_anew(pool: RewardPool) -> None:
    pool.take_metrics()
    pool.score_all([item("value 1"), item("hang"), item("raise"), item("value 1", "cheap")])
    metrics = pool.take_metrics()
    isolated, cheap = metrics.tasks["isolated"], metrics.tasks["cheap"]
    assert (isolated.num_scored, isolated.num_timeouts, isolated.num_failures) == (3, 1, 2)
    assert isolated.failures == {"timeout": 1, "verifier_error": 1}
    assert isolated.busy_seconds >= TIMEOUT_SECONDS
    assert (cheap.num_scored, cheap.num_failures) == (1, 0)
    assert metrics.num_worker_restarts == 1
    assert metrics.to_scalars()["rewards/isolated/num_timeouts"] == 1.0
    assert pool.take_metrics().tasks == {}


def test_an_unknown_task_is_an_error_that_names_the_known_ones(pool: RewardPool) -> None:
    with pytest.raises(ValueError, match="no task 'other'; known: cheap, isolated"):
        pool.submit(*item("value 1", "other"))


def test_killing_workers_at_random_loses_no_result() -> None:
    # Every reward is its own number, so a lost, doubled or swapped result would show.
    items = [item(f"slow_value {index / 2000}") for index in range(2000)]
    stop = threading.Event()
    others = set(child_pids(os.getpid()))
    with RewardPool([ObedientTask("isolated")], num_workers=3, timeout_seconds=20) as pool:
        killer = threading.Thread(target=_kill_workers, args=(stop, others))
        killer.start()
        scores = [score.reward for score in pool.score_all(items)]
        stop.set()
        killer.join()
        num_restarts = pool.take_metrics().num_worker_restarts
    assert scores == [index / 2000 for index in range(2000)]
    assert num_restarts > 5


def _kill_workers(stop: threading.Event, others: set[int]) -> None:
    """Kill a worker now and then, and their server as the fifth victim."""
    generator = random.Random(7)
    num_victims = 0
    while not stop.wait(0.02):
        servers = [pid for pid in child_pids(os.getpid()) if pid not in others]
        workers = [pid for server in servers for pid in child_pids(server)]
        if workers:
            num_victims += 1
            os.kill(generator.choice(servers if num_victims == 5 else workers), signal.SIGKILL)


def child_pids(pid: int) -> list[int]:
    listing = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True
    )
    lines = [line for line in listing.stdout.splitlines() if "reward_worker" in line]
    return [int(line.split()[0]) for line in lines]


def test_closing_ends_every_process_and_cancels_what_waits() -> None:
    others = set(child_pids(os.getpid()))
    pool = RewardPool([ObedientTask("isolated")], num_workers=2)
    futures = [pool.submit(*item("hang")) for _ in range(4)]
    servers = [pid for pid in child_pids(os.getpid()) if pid not in others]
    while len(workers := [pid for server in servers for pid in child_pids(server)]) < 2:
        time.sleep(0.05)
    pool.close()
    pool.close()
    assert all(future.done() for future in futures)
    assert futures[-1].cancelled()
    assert all(ends_in_time(pid) for pid in servers + workers)
    with pytest.raises(ValueError, match="closed"):
        pool.submit(*item("value 1"))


def test_workers_end_with_a_process_that_is_killed() -> None:
    program = (
        "import time; from reward_pool_tasks import ObedientTask\n"
        "from prorl_nemo.tasks.base import Problem\n"
        "from prorl_nemo.tasks.reward_pool import RewardPool\n"
        "pool = RewardPool([ObedientTask('isolated')], num_workers=1)\n"
        "pool.submit(Problem('a', 'isolated', '', ''), 'hang')\n"
        "time.sleep(0.5); print('started', flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        servers = child_pids(process.pid)
        workers = [pid for server in servers for pid in child_pids(server)]
        process.kill()
    assert len(servers) == len(workers) == 1
    assert ends_in_time(workers[0])


def ends_in_time(pid: int) -> bool:
    """Within five seconds ``pid`` is gone, or waits for init to take note of its end."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True)
        if not state.stdout or state.stdout.startswith(b"Z"):
            return True
        time.sleep(0.05)
    return False


def test_a_task_that_can_not_be_loaded_is_an_error_at_once() -> None:
    with pytest.raises(RewardPoolError, match="this task loads nowhere"):
        RewardPool([UnloadableTask("isolated")], num_workers=1)


@pytest.mark.parametrize(
    ("num_workers", "timeout_seconds"), [(0, 1.0), (1, 0.0)], ids=["no workers", "no time"]
)
def test_senseless_sizes_are_refused(num_workers: int, timeout_seconds: float) -> None:
    with pytest.raises(ValueError, match="num_workers >= 1 and timeout_seconds > 0"):
        RewardPool([], num_workers=num_workers, timeout_seconds=timeout_seconds)


def test_two_tasks_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        RewardPool([ObedientTask("a"), ObedientTask("a")], num_workers=1)
