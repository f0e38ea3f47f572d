"""Files, overrides and errors of the configuration; every error is one line that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from prorl_nemo.config_campaign import Config
from prorl_nemo.config_loading import ConfigError, config_of_run, load_config, override_config
from tests.support.campaigns import REPOSITORY, TINY_CAMPAIGN

LOCAL = REPOSITORY / "conf" / "local.yaml"


def load(*overrides: str) -> Config:
    return load_config(LOCAL, overrides)


def refuse(*overrides: str, path: Path = LOCAL) -> str:
    with pytest.raises(ConfigError) as error:
        load_config(path, overrides)
    message = str(error.value)
    assert "\n" not in message
    return message


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", [LOCAL, TINY_CAMPAIGN], ids=lambda path: path.name)
def test_a_file_parses_with_every_run_of_its_schedule(path: Path) -> None:
    config = load_config(path)
    for index in range(len(config.prorl.schedule)):
        config_of_run(config, index)


# Overrides.


def test_an_override_changes_one_key() -> None:
    assert load("grpo.seed=9").grpo.seed == 9
    assert load("policy.optimizer.betas=[0.8,0.9]").policy.optimizer.betas == (0.8, 0.9)
    assert load("prorl.reset.kl_ceiling=0.5").prorl.reset.kl_ceiling == 0.5
    assert load("prorl.reset.period_steps=null").prorl.reset.period_steps is None
    assert load("policy.model_name=/a:b, c=d").policy.model_name == "/a:b, c=d"


def test_a_later_override_wins() -> None:
    assert load("grpo.seed=9", "grpo.seed=10").grpo.seed == 10


@pytest.mark.parametrize("key", ["prorl.train_tasks.1.weight", "prorl.train_tasks[1].weight"])
def test_an_item_of_a_list(key: str) -> None:
    weights = [task.weight for task in load(f"{key}=3").prorl.train_tasks]
    assert weights == [2.0, 3.0, 1.0]


def test_one_task_can_be_removed() -> None:
    names = [task.name for task in load("~prorl.train_tasks[2]").prorl.train_tasks]
    assert names == ["spell_backward", "gcd"]


def test_adding_a_key_where_any_key_may_be() -> None:
    task = load("+prorl.train_tasks.0.params.config.extra=5").prorl.train_tasks[0]
    assert task.params["config"] == {**load().prorl.train_tasks[0].params["config"], "extra": 5}  # type: ignore[dict-item]


def test_interpolations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRORL_TEST_DIR", "/scratch")
    config = load("checkpointing.checkpoint_dir=${oc.env:PRORL_TEST_DIR}/run")
    assert config.checkpointing.checkpoint_dir == "/scratch/run"
    assert load("policy.model_name=/m").policy.tokenizer.name == "/m"


def test_overrides_of_a_checked_configuration() -> None:
    assert override_config(load(), ["prorl.evaluation.num_samples=3"]).prorl.evaluation == (
        load("prorl.evaluation.num_samples=3").prorl.evaluation
    )
    with pytest.raises(ConfigError, match=r"^grpo.sed: no such key; did you mean grpo.seed\?$"):
        override_config(load(), ["grpo.sed=3"])


# Errors.


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("grpo.num_prompt_per_step=3", "did you mean grpo.num_prompts_per_step?"),
        ("+grpo.num_prompt_per_step=3", "grpo.num_prompt_per_step: no such key"),
        ("prorl.train_tasks.7.weight=3", "prorl.train_tasks.7.weight: no such key"),
        ("~grpo.seed", "grpo.seed: missing"),
        ("~grpo.nope", "grpo.nope: no such key"),
        ("loss_fn.ratio_clip_min=-0.1", "loss_fn.ratio_clip_min: Input should be greater than 0"),
        ("loss_fn.ratio_clip_max=-1", "loss_fn.ratio_clip_max: Input should be greater than 0"),
        ("grpo.num_generations_per_prompt=1", "grpo.num_generations_per_prompt: Input should be"),
        ("prorl.train_tasks=[]", "prorl.train_tasks: List should have at least 1 item"),
        ("prorl.schedule=[]", "prorl.schedule: List should have at least 1 item"),
        ("policy.optimizer.lr=.inf", "policy.optimizer.lr: Input should be a finite number"),
        ("policy.optimizer.lr=fast", "policy.optimizer.lr: Input should be a valid number"),
        ("policy.precision=fp8", "policy.precision: Input should be 'float32' or 'bfloat16'"),
        ("prorl.engine=torch", "prorl.engine: Input should be 'local' or 'nemo'"),
        ("grpo=3", "grpo: Input should be a valid dictionary"),
        ("grpo.seed", "grpo.seed: expected key=value, +key=value or ~key"),
        ("=3", "=3: expected key=value, +key=value or ~key"),
        ("policy.tokenizer.name=${policy.nope}", "policy.tokenizer.name: Interpolation key"),
        ("policy.tokenizer.name=${oc.env:PRORL_NOPE}", "policy.tokenizer.name: "),
        ("policy.tokenizer.name=${policy.tokenizer.name}", "policy.tokenizer.name: Recursive"),
        ("policy.train_global_batch_size=100", "policy.train_global_batch_size: 100 is not a "),
        ("policy.generation.max_new_tokens=64", "policy.generation.max_new_tokens: leaves no room"),
        (
            "grpo.reward_shaping.overlong_buffer_length=17",
            "grpo.reward_shaping.overlong_buffer_length: exceeds policy.generation.max_new_tokens",
        ),
        ("prorl.length_reward.active_steps=601", "prorl.length_reward.active_steps: exceeds"),
        ("prorl.train_tasks.1.name=spell_backward", "prorl.train_tasks: spell_backward is listed"),
        ("prorl.train_tasks.1.name=a/b", "prorl.train_tasks.1.name: String should match"),
        (
            "prorl.reset.period_steps=5",
            "prorl.reset.period_steps: shorter than prorl.reset.min_gap",
        ),
        ("loss_fn.truncated_importance_sampling_type=tis", "use_importance_sampling_correction"),
    ],
)
def test_a_wrong_value_is_named(override: str, message: str) -> None:
    assert message in refuse(override)


def test_triggers_that_watch_validation_need_it() -> None:
    message = refuse("grpo.val_period=0", "prorl.reset.patience=3")
    assert message.startswith("grpo.val_period: prorl.reset.patience and degradation watch")
    assert "prorl.validation.tasks: empty" in refuse("prorl.validation.tasks=[]")


def test_truncated_importance_sampling_needs_its_bounds() -> None:
    on = (
        "loss_fn.use_importance_sampling_correction=true",
        "loss_fn.truncated_importance_sampling_type=icepop",
    )
    assert "truncated_importance_sampling_ratio: icepop needs an upper bound" in refuse(*on)
    on = (*on, "loss_fn.truncated_importance_sampling_ratio=2")
    assert "truncated_importance_sampling_ratio_min: icepop needs a lower bound" in refuse(*on)
    load(*on, "loss_fn.truncated_importance_sampling_ratio_min=0.5")


# Files.


def test_defaults_chain_and_differences_win(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", f"defaults: {LOCAL}\ngrpo: {{seed: 5, val_period: 7}}\n")
    (tmp_path / "sub").mkdir()
    last = write(tmp_path / "sub" / "b.yaml", "defaults: ../a.yaml\ngrpo: {seed: 6}\n")
    config = load_config(last)
    assert (config.grpo.seed, config.grpo.val_period) == (6, 7)
    assert config.loss_fn == load().loss_fn


def test_a_list_of_defaults_and_later_ones_win(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "grpo: {seed: 5, val_period: 7}\n")
    write(tmp_path / "b.yaml", "grpo: {seed: 6}\n")
    both = write(tmp_path / "c.yaml", f"defaults: [{LOCAL}, a.yaml, b.yaml]\n")
    config = load_config(both)
    assert (config.grpo.seed, config.grpo.val_period) == (6, 7)


def test_lists_are_replaced(tmp_path: Path) -> None:
    task = "{name: x, task: reasoning_gym/gcd, weight: 1, num_problems: 3, seed: 0, params: {}}"
    path = write(
        tmp_path / "b.yaml", f"defaults: {LOCAL}\nprorl: {{validation: {{tasks: [{task}]}}}}"
    )
    assert [task.name for task in load_config(path).prorl.validation.tasks] == ["x"]


def test_mappings_are_merged_unless_told(tmp_path: Path) -> None:
    merged = write(
        tmp_path / "a.yaml", f"defaults: {LOCAL}\nprorl: {{reset: {{period_steps: 99}}}}\n"
    )
    assert load_config(merged).prorl.reset.period_steps == 99
    replaced = write(
        tmp_path / "b.yaml",
        f"defaults: {LOCAL}\nprorl: {{reset: {{_override_: true, period_steps: 99}}}}\n",
    )
    assert refuse(path=replaced) == "prorl.reset.patience: missing"


def test_a_circle_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "defaults: b.yaml\n")
    write(tmp_path / "b.yaml", "defaults: a.yaml\n")
    assert refuse(path=tmp_path / "a.yaml") == f"{tmp_path / 'a.yaml'}: defaults form a circle"
    write(tmp_path / "c.yaml", "defaults: c.yaml\n")
    assert refuse(path=tmp_path / "c.yaml").endswith("c.yaml: defaults form a circle")


def test_the_same_file_by_two_ways_is_no_circle(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", f"defaults: [{LOCAL}, {LOCAL}]\n")
    assert load_config(tmp_path / "a.yaml") == load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not valid YAML"),
        ("a: b: c", "not valid YAML"),
        ("a: 1\na: 2", "not valid YAML"),
        ("- 1", "expected a mapping at the top"),
        ("", "grpo: missing"),
        ("defaults: nowhere.yaml", "nowhere.yaml: no such file"),
        ("grpo: 3", "grpo: Input should be a valid dictionary"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    assert message in refuse(path=write(tmp_path / "a.yaml", text))


def test_a_file_that_is_not_there() -> None:
    assert refuse(path=Path("/nowhere/a.yaml")) == "/nowhere/a.yaml: no such file"


def test_a_binary_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    assert "not valid YAML" in refuse(path=path)


# Runs of the schedule.


def test_a_run_has_its_own_configuration() -> None:
    config = load_config(TINY_CAMPAIGN)
    assert config_of_run(config, 0).grpo.num_generations_per_prompt == 4
    assert config_of_run(config, 1).grpo.num_generations_per_prompt == 6
    assert config_of_run(config, 1).policy.train_global_batch_size == 12
    assert config.grpo.num_generations_per_prompt == 4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("{grpo.nope: 1}", "prorl.schedule[0].overrides.grpo.nope: no such key"),
        ("{loss_fn.ratio_clip_min: -1}", "prorl.schedule[0] (run1): loss_fn.ratio_clip_min: "),
        ("{checkpointing.save_period: 1}", "can't change during a campaign"),
        ("{logger.wandb_enabled: true}", "can't change during a campaign"),
        ("{grpo.seed: 3}", "can't change during a campaign"),
        ("{prorl.evaluation.seed: 3}", "can't change during a campaign"),
        ("{prorl.schedule: []}", "can't change during a campaign"),
        ("{policy.model_name: x}", "a campaign has one model and one engine"),
    ],
)
def test_a_run_can_not_override_everything(overrides: str, message: str) -> None:
    assert message in refuse(f"prorl.schedule.0.overrides={overrides}")
