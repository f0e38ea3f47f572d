from __future__ import annotations

import itertools
from collections import Counter

import pytest

from prorl_nemo.data.prompt_stream import PromptStream, WeightedTask, permuted_index
from tests.support.rollouts import CountingTask


def stream(**options: object) -> PromptStream:
    tasks = [
        WeightedTask(CountingTask("a", size=50), 3.0),
        WeightedTask(CountingTask("b", size=7), 1.0),
    ]
    return PromptStream(tasks, **{"seed": 1, **options})  # type: ignore[arg-type]


def ids(problems: list) -> list[str]:  # type: ignore[type-arg]
    return [problem.problem_id for problem in problems]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65, 1000])
def test_a_permutation_visits_everything_once(size: int) -> None:
    for seed in (0, 1, 12345678901234567890):
        order = [permuted_index(i, size=size, seed=seed) for i in range(size)]
        assert sorted(order) == list(range(size))


def test_permutations_differ_by_seed_and_look_random() -> None:
    orders = {
        tuple(permuted_index(i, size=100, seed=seed) for i in range(100)) for seed in range(9)
    }
    assert len(orders) == 9
    order = next(iter(orders))
    rising = sum(a < b for a, b in itertools.pairwise(order))
    assert 35 < rising < 65


def test_an_epoch_has_every_problem_once_and_the_next_another_order() -> None:
    task = CountingTask(size=30)
    prompts = PromptStream([WeightedTask(task, 1.0)], seed=4)
    first, second = ids(prompts.take(30)), ids(prompts.take(30))
    assert sorted(first) == sorted(second) == sorted(task[i].problem_id for i in range(30))
    assert first != second


def test_every_stretch_is_close_to_the_weights() -> None:
    prompts = stream()
    for _ in range(10):
        counts = Counter(problem.task for problem in prompts.take(40))
        assert abs(counts["a"] - 30) <= 2


def test_it_resumes_from_its_position() -> None:
    whole = ids(stream().take(100))
    for cut in (0, 1, 13, 99):
        head = stream()
        taken = ids(head.take(cut))
        assert taken + ids(stream(position=head.position).take(100 - cut)) == whole


def test_how_many_at_a_time_does_not_matter() -> None:
    prompts = stream()
    assert ids([p for _ in range(20) for p in prompts.take(5)]) == ids(stream().take(100))


def test_the_seed_matters() -> None:
    assert ids(stream().take(20)) != ids(stream(seed=2).take(20))


def test_held_out_prompts_are_never_drawn() -> None:
    held_out = frozenset({"a 3", "a 4", "b 0"})
    prompts = {problem.prompt for problem in stream(held_out_prompts=held_out).take(400)}
    everything = {f"a {i}" for i in range(50)} | {f"b {i}" for i in range(7)}
    assert prompts == everything - held_out


def test_a_task_that_is_wholly_held_out_is_an_error() -> None:
    held_out = frozenset(f"b {i}" for i in range(7))
    with pytest.raises(ValueError, match=r"^b: every prompt of this task is held out"):
        stream(held_out_prompts=held_out).take(20)


def test_an_empty_mixture_is_an_error() -> None:
    with pytest.raises(ValueError, match="the mixture is empty"):
        PromptStream([], seed=1)


def test_a_task_added_by_a_later_run_starts_at_its_beginning() -> None:
    first = PromptStream([WeightedTask(CountingTask("a"), 1.0)], seed=1)
    before = ids(first.take(10))
    tasks = [WeightedTask(CountingTask("a"), 1.0), WeightedTask(CountingTask("b"), 1.0)]
    later = ids(PromptStream(tasks, seed=1, position=first.position).take(40))
    fresh_b = ids(PromptStream([WeightedTask(CountingTask("b"), 1.0)], seed=1).take(40))
    of_b = [name for name in later if name.startswith("b")]
    assert of_b == fresh_b[: len(of_b)]
    assert len(of_b) in range(18, 23)
    assert not set(before) & set(later)


def test_the_position_handed_out_is_a_copy() -> None:
    prompts = stream()
    prompts.take(3)
    prompts.position["a"] = 99
    assert sum(prompts.position.values()) == 3
