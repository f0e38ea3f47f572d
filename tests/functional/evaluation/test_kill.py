"""`prorl evaluate` that is killed at any moment ends with the very files of one that was not."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from prorl_nemo.evaluation.sample_files import count_done
from prorl_nemo.evaluation.samples import read_evaluation
from tests.support.campaigns import CampaignServer, KillAt, Process, wait_until
from tests.support.tiny_policy import write_tiny_policy

SETTINGS = (
    "prorl.evaluation.num_samples=32",
    "prorl.evaluation.temperature=0.6",
    "prorl.evaluation.top_p=0.95",
    "prorl.evaluation.tasks.0.num_problems=70",  # 3 blocks of problems x 2 of samples
)
NUM_RESPONSES = 70 * 32
FILES = ("base/spell_backward.jsonl", "final/spell_backward.jsonl")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("models")
    return (
        write_tiny_policy(directory / "one", seed=1),
        write_tiny_policy(directory / "two", seed=2),
    )


def start(
    campaigns: CampaignServer,
    models: tuple[Path, Path],
    out: Path,
    *settings: str,
    kill_at: KillAt | None = None,
    max_file_bytes: int | None = None,
) -> Process:
    return campaigns.start(
        "evaluate",
        "--config",
        campaigns.config,
        "--model",
        f"base={models[0]}",
        "--model",
        f"final={models[1]}",
        "--out",
        out,
        *SETTINGS,
        *settings,
        logs=out.parent,
        kill_at=kill_at,
        max_file_bytes=max_file_bytes,
    )


def finish(campaigns: CampaignServer, models: tuple[Path, Path], out: Path) -> None:
    finished = start(campaigns, models, out).wait()
    assert finished.code == 0, finished.output


def read(out: Path) -> dict[str, bytes]:
    return {name: (out / "evaluation" / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def whole(
    campaigns: CampaignServer, models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The samples of an evaluation that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "out"
    finish(campaigns, models, out)
    evaluation = read_evaluation([out])
    assert [samples.rewards.shape for samples in evaluation.complete] == [(70, 32)] * 2
    assert evaluation.incomplete == ()
    return read(out)


def test_models_differ_and_samples_vary(whole: dict[str, bytes]) -> None:
    """Otherwise equal files would prove little."""
    base, final = whole.values()
    assert base != final
    assert len(set(base.splitlines())) == 140


def test_kill_at_random_moments(
    campaigns: CampaignServer,
    models: tuple[Path, Path],
    whole: dict[str, bytes],
    tmp_path: Path,
) -> None:
    out, rng, kills = tmp_path / "out", random.Random(11), 0

    def num_bytes() -> int:
        return sum(path.stat().st_size for path in out.rglob("*.jsonl"))

    total = sum(map(len, whole.values()))
    process = start(campaigns, models, out)
    for share in (0.0, 0.1, 0.3, 0.55, 0.8):
        wait_until(lambda share=share: num_bytes() > share * total)
        time.sleep(rng.uniform(0.0, 0.1))  # somewhere in loading, sampling, scoring or writing
        before = num_bytes()
        if process.kill().code == -signal.SIGKILL:
            kills += 1
            process = start(campaigns, models, out)
        assert num_bytes() >= before  # what was written stays
    assert kills >= 3
    process.wait()
    finish(campaigns, models, out)
    assert read(out) == whole
    for name in FILES:
        assert sum(count_done(out / "evaluation" / name).values()) == NUM_RESPONSES


MOMENTS = {
    "while writing the settings": KillAt("open", "base/spell_backward.meta.json.tmp"),
    "before the settings are renamed": KillAt("os.rename", "final/spell_backward.meta.json.tmp"),
    "before the first block is written": KillAt("open", "base/spell_backward.jsonl"),
    "between two blocks": KillAt("open", "base/spell_backward.jsonl", 4),
    "between two models": KillAt("os.mkdir", "evaluation/final"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_at_a_bad_moment(
    campaigns: CampaignServer,
    models: tuple[Path, Path],
    whole: dict[str, bytes],
    tmp_path: Path,
    moment: str,
) -> None:
    out = tmp_path / "out"
    died = start(campaigns, models, out, kill_at=MOMENTS[moment]).wait()
    assert died.code == -signal.SIGKILL, died.output
    finish(campaigns, models, out)
    assert read(out) == whole
    assert [*out.rglob("*.tmp")] == []


def test_a_full_disk_is_named_and_what_is_there_is_kept(
    campaigns: CampaignServer,
    models: tuple[Path, Path],
    whole: dict[str, bytes],
    tmp_path: Path,
) -> None:
    """A limit on the size of a file cuts the write of a block in the middle."""
    out, limit = tmp_path / "out", len(whole[FILES[0]]) // 2
    finished = start(campaigns, models, out, max_file_bytes=limit).wait()
    assert finished.code == 2
    assert "File too large" in finished.output
    assert "Traceback" not in finished.output
    torn = (out / "evaluation" / FILES[0]).read_bytes()
    assert torn == whole[FILES[0]][:limit]
    finish(campaigns, models, out)
    assert read(out) == whole


def test_other_settings_do_not_touch_the_samples(
    campaigns: CampaignServer, models: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    finish(campaigns, models, out)
    before = read(out)
    other = start(campaigns, models, out, "prorl.evaluation.temperature=1.0").wait()
    assert other.code == 2
    message = other.output.strip().splitlines()[-1]
    assert "temperature: 0.6 there, 1.0 asked for" in message
    assert read(out) == before
