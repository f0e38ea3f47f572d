"""Forks processes that run the real `prorl` command, without importing torch for each.

`python -m tests.support.campaign_server` imports everything once and then reads one JSON
request per line: start a command in a fork of itself, or wait for one. The children run
``prorl_nemo.cli.main`` and nothing else is replaced; on request they kill themselves at a
given file operation, which is the same as a kill -9 from outside at that moment.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import traceback
from typing import Any


def main() -> None:
    _import_everything()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            answer = {"pid": _start(request)}
        print(json.dumps(answer), flush=True)


def _import_everything() -> None:
    import reasoning_gym
    import torch

    import prorl_nemo.campaign
    import prorl_nemo.cli
    import prorl_nemo.engines.local.build
    import prorl_nemo.finish

    for verb in prorl_nemo.cli.VERBS:
        importlib.import_module(f"prorl_nemo.commands.{verb}")
    reasoning_gym.create_dataset("gcd", size=1)[0]
    torch.set_num_threads(1)


def _start(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _become_command(request)
        from prorl_nemo.cli import main as prorl

        code = prorl(request["arguments"])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _become_command(request: dict[str, Any]) -> None:
    """Own process group, output to a file, and the limits or the death asked for."""
    os.setpgid(0, 0)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if request["max_file_bytes"] is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # write() then fails with an error
        limit = request["max_file_bytes"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if request["kill_at"] is not None:
        _die_at(**request["kill_at"])


def _die_at(*, operation: str, path: str, count: int) -> None:
    """SIGKILL before the ``count``-th audited ``operation`` whose arguments name ``path``.

    An empty ``operation`` stands for every operation on a file.
    """
    left = count

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event != operation and (operation or event not in FILE_OPERATIONS):
            return
        if any(path in argument for argument in map(str, arguments)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


FILE_OPERATIONS = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}
)

if __name__ == "__main__":
    main()
