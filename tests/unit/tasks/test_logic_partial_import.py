"""Settings get the same verdict from a partly imported Reasoning Gym as from all of it.

Whole processes: pytest's own has imported the package already.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from reasoning_gym.factory import DATASETS

from prorl_nemo.tasks.logic_scoring import make_data_set

PROBE = """
import json, sys
from prorl_nemo.tasks.logic_partial_import import only_data_sets
from prorl_nemo.tasks.logic_scoring import make_data_set
cases = json.loads(sys.argv[1])
verdicts = []
with only_data_sets({name for name, _ in cases}):
    heavy = sorted({"sympy", "matplotlib"} & sys.modules.keys())
    for name, config in cases:
        try:
            verdicts.append(str(make_data_set(name, seed=1, size=2, config=config)[0]))
        except ValueError as error:
            verdicts.append(f"refused: {error}")
import reasoning_gym
from reasoning_gym.factory import DATASETS
print(json.dumps({"verdicts": verdicts, "heavy": heavy, "all": sorted(DATASETS)}))
"""
Case = tuple[str, dict[str, Any]]


def probe(cases: list[Case]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROBE, json.dumps(cases)],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def refusal(name: str, config: dict[str, Any]) -> str:
    with pytest.raises(ValueError, match=name) as caught:
        make_data_set(name, seed=1, size=2, config=config)
    return f"refused: {caught.value}"


def test_a_few_data_sets_come_without_what_the_others_need() -> None:
    bad: list[Case] = [("gcd", {"nope": 1}), ("gcd", {"min_numbers": 9, "max_numbers": 2})]
    result = probe([("gcd", {}), ("spell_backward", {"min_word_len": 4}), *bad])
    assert result["heavy"] == []
    assert result["verdicts"][2:] == [refusal(*case) for case in bad]
    for name, config, text in (
        ("gcd", {}, result["verdicts"][0]),
        ("spell_backward", {"min_word_len": 4}, result["verdicts"][1]),
    ):
        assert text == str(make_data_set(name, seed=1, size=2, config=config)[0])
    assert result["all"] == sorted(DATASETS)  # afterwards the package is as good as new


def test_a_name_that_no_module_claims_is_looked_up_in_all_of_the_package() -> None:
    result = probe([("gcd", {}), ("no_such_set", {}), ("composite", {})])
    assert result["heavy"] == []
    assert not result["verdicts"][0].startswith("refused")
    assert result["verdicts"][1] == "refused: reasoning_gym has no data set 'no_such_set'"
    assert result["verdicts"][2] == refusal("composite", {})


@pytest.mark.slow
def test_every_data_set_can_be_imported_by_itself() -> None:
    code = (
        "import sys; from prorl_nemo.tasks.logic_partial_import import only_data_sets\n"
        "for name in sys.argv[1:]:\n"
        "    with only_data_sets([name]):\n"
        "        assert 'reasoning_gym.factory' in sys.modules, name\n"
        "        assert len(sys.modules['reasoning_gym.factory'].DATASETS) < 12, name\n"
    )
    names = sorted(set(DATASETS) - {"composite"})
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, *names], check=True)
