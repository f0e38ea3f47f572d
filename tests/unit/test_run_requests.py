from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from prorl_nemo.run_requests import SIGNALS, RunRequests, request_reset


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    requests = RunRequests(tmp_path)
    requests.install_signal_handlers()
    assert requests.stop_reason() is None
    os.kill(os.getpid(), number)
    assert requests.stop_reason() == f"received {number.name}"


def test_asked_twice_from_the_keyboard_it_stops_at_once(tmp_path: Path) -> None:
    requests = RunRequests(tmp_path)
    requests.install_signal_handlers()
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("number", SIGNALS)
def test_work_that_resumes_from_anywhere_ends_at_once(
    tmp_path: Path, number: signal.Signals
) -> None:
    requests = RunRequests(tmp_path)
    requests.exit_on_signals()
    with pytest.raises(SystemExit) as exit_:
        os.kill(os.getpid(), number)
    assert exit_.value.code == 0


def test_the_stop_file_counts_until_it_is_dropped(tmp_path: Path) -> None:
    requests = RunRequests(tmp_path)
    (tmp_path / "STOP").touch()
    assert requests.stop_reason() == "file STOP"
    requests.drop_stop()
    assert not (tmp_path / "STOP").exists()
    assert requests.stop_reason() == "file STOP"  # this job goes, the next one does not
    assert RunRequests(tmp_path).stop_reason() is None


def test_the_save_file_is_taken_once(tmp_path: Path) -> None:
    requests = RunRequests(tmp_path)
    assert not requests.take_save()
    (tmp_path / "SAVE").touch()
    assert requests.take_save()
    assert not requests.take_save()


def test_a_reset_request_stays_until_its_id_is_dropped(tmp_path: Path) -> None:
    requests = RunRequests(tmp_path)
    assert requests.reset_request() is None
    first = request_reset(tmp_path)
    assert requests.reset_request() == first
    second = request_reset(tmp_path)
    assert first != second
    requests.drop_reset(None)
    requests.drop_reset(first)  # handled, but another one has come in since
    assert requests.reset_request() == second
    requests.drop_reset(second)
    assert requests.reset_request() is None


def test_an_empty_reset_file_is_no_request(tmp_path: Path) -> None:
    (tmp_path / "RESET").touch()
    assert RunRequests(tmp_path).reset_request() is None
