"""A real Slurm of four nodes on one machine: Debian's slurmctld, slurmd and munge.

Every node lives in namespaces of its own (address, host name, /tmp, processes); killing its
first process is a power loss. Needs root.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NODE_SCRIPT = Path(__file__).with_name("node.sh")
NETWORK = "10.217.44"
GATEWAY = f"{NETWORK}.254"
NODES = ("n1", "n2", "n3", "n4")
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged", "ip", "unshare", "nsenter", "setpriv")
PATIENCE_SECONDS = 300.0
RAY_PYTHON = os.environ.get("PRORL_TEST_RAY_PYTHON", sys.executable)
SEARCH_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

SLURM_CONF = """\
ClusterName=prorl
SlurmctldHost=login({gateway})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd.%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.%n.log
PlugStackConfig={root}/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
SlurmctldTimeout=10
SlurmdTimeout=6
InactiveLimit=0
KillWait=5
MinJobAge=3600
BatchStartTimeout=10
MessageTimeout=5
EnforcePartLimits=ALL
GresTypes=gpu
NodeName=n[1-4] NodeAddr={network}.[1-4] CPUs=16 Sockets=1 CoresPerSocket=16 ThreadsPerCore=1 \
RealMemory=64000 Gres=gpu:8 State=UNKNOWN
PartitionName=batch Nodes=ALL Default=YES MaxTime=04:00:00 DefaultTime=00:30:00 State=UP
"""


def reason_to_skip() -> str | None:
    """Why no cluster can be started here, or None."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=SEARCH_PATH) is None]
    if missing:
        return f"needs {', '.join(missing)} (apt-get install slurmctld slurmd slurm-client munge)"
    probe = ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "true"]
    if os.geteuid() != 0 or subprocess.run(probe, capture_output=True).returncode != 0:
        return "needs root and the right to make namespaces"
    return None


class Cluster:
    """The running cluster; ``root`` is shared by all nodes, as a cluster's file system is."""

    def __init__(self, root: Path, *, spank_plugin: Path | None = None) -> None:
        self.root = root
        self._first: dict[str, int] = {}  # process ids, as seen from outside
        self._write_files(spank_plugin)

    def start(self) -> None:
        self._boot("login")
        wait_until((self.root / "run" / "munge.sock").exists, "munge on the login node")
        self.bring_back()

    def stop(self) -> None:
        for name in (*NODES, "login"):
            self._kill(name)

    def run(
        self, *command: str | Path, node: str = "login", cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a machine of the cluster; its result is the caller's to judge."""
        return subprocess.run(
            [*self._enter(node), "env", "-C", str(cwd or self.root), *map(str, command)],
            env=self._environment(env),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )

    def out(self, *command: str | Path, node: str = "login") -> str:
        """The output of a command that has to succeed."""
        result = self.run(*command, node=node)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def power_off(self, node: str) -> None:
        """Every process of the node dies at once."""
        self._kill(node)

    def boot_node(self, node: str) -> None:
        number = node.removeprefix("n")
        self._boot(node, f"{NETWORK}.{number}")
        login = ["nsenter", "--target", str(self._first["login"]), "--net"]
        for words in (
            ["add", f"ve{number}", "type", "veth", "peer", "eth0", "netns", self._first[node]],
            ["set", f"ve{number}", "master", "br0", "up"],
        ):
            _call([*login, "ip", "link", *map(str, words)])

    def bring_back(self) -> None:
        """Power on what is off and wait until Slurm uses it again."""
        for node in set(NODES) - self._first.keys():
            self.boot_node(node)
        in_use = ("sinfo", "--noheader", "--states=idle,alloc,mix,comp", "--format=%D")
        wait_until(
            lambda: sum(map(int, self.run(*in_use).stdout.split())) == len(NODES),
            "all nodes to be used again",
        )

    def configure(self, old: str, new: str) -> None:
        """Change a line of slurm.conf while the cluster runs."""
        conf = self.root / "slurm.conf"
        conf.write_text(conf.read_text().replace(old, new))
        self.out("scontrol", "reconfigure")

    def process_ids(self, node: str) -> dict[int, str]:
        """Command lines on a node but for those of Slurm and of the node itself.

        Keys are process ids as seen from outside the node.
        """
        namespace = os.readlink(f"/proc/{self._first[node]}/ns/pid")
        found = {}
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(directory / "ns" / "pid") != namespace:
                    continue
                words = (directory / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it ended just now
            found[int(directory.name)] = b" ".join(words).decode(errors="replace").strip()
        own = ("slurmd", "slurmstepd:", f"bash {NODE_SCRIPT}", f"/bin/bash {NODE_SCRIPT}")
        return {pid: text for pid, text in found.items() if text and not text.startswith(own)}

    def wait_for_end(self, job: str) -> None:
        command = ("squeue", "--noheader", f"--jobs={job}", "--format=%T")
        wait_until(lambda: not self.run(*command).stdout.strip(), f"the end of job {job}")

    def _write_files(self, spank_plugin: Path | None) -> None:
        for name in ("state", "log", "run", "dev", "spank", *(f"spool/{node}" for node in NODES)):
            (self.root / name).mkdir(parents=True)
        for number in range(8):  # a gres without files registers as none; /dev/null will do
            (self.root / "dev" / f"gpu{number}").symlink_to("/dev/null")
        (self.root / "gres.conf").write_text(f"Name=gpu File={self.root}/dev/gpu[0-7]\n")
        (self.root / "cgroup.conf").write_text("CgroupAutomount=no\n")
        line = f"required {spank_plugin} {self.root}/spank\n" if spank_plugin else ""
        (self.root / "plugstack.conf").write_text(line)
        hosts = [f"{NETWORK}.{node.removeprefix('n')} {node}" for node in NODES]
        entries = ["127.0.0.1 localhost", f"{GATEWAY} login", *hosts]
        (self.root / "hosts").write_text("\n".join(entries) + "\n")
        conf = SLURM_CONF.format(root=self.root, gateway=GATEWAY, network=NETWORK)
        (self.root / "slurm.conf").write_text(conf)
        key = self.root / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)

    def _boot(self, name: str, *address: str) -> None:
        flags = ["--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        # A test run that is killed leaves no cluster behind.
        killed_with_us = ["setpriv", "--pdeathsig", "KILL"]
        visible = [self.root, REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)]
        visible += [Path(RAY_PYTHON).parents[1]]
        with (self.root / "log" / f"{name}.boot.log").open("a") as log:
            outer = subprocess.Popen(
                [*killed_with_us, "unshare", *flags, str(NODE_SCRIPT), name, *address],
                env=self._environment({"VISIBLE": "\n".join(map(str, visible))}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        wait_until(lambda: bool(children.read_text().split()), f"{name} to boot")
        self._first[name] = int(children.read_text().split()[0])

    def _kill(self, name: str) -> None:
        pid = self._first.pop(name, None)
        if pid is None:
            return
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid), f"{name} to die")

    def _enter(self, node: str) -> list[str]:
        flags = ["--net", "--mount", "--uts", "--pid"]
        return ["nsenter", "--target", str(self._first[node]), *flags]

    def _environment(self, extra: dict[str, str]) -> dict[str, str]:
        # Compiling what a driver imports takes longer than a test's campaign.
        inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        return {
            **inherited,
            "PATH": SEARCH_PATH,
            "SLURM_CONF": str(self.root / "slurm.conf"),
            "CLUSTER": str(self.root),
            "GATEWAY": GATEWAY,
            "OMP_NUM_THREADS": "1",
            **extra,
        }


def wait_until(
    condition: Callable[[], bool], what: str, *, timeout_seconds: float = PATIENCE_SECONDS
) -> None:
    """Poll until ``condition`` holds; fails after a long while, saying what was awaited."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


def _is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


def _call(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, f"{command}: {result.stderr}"
