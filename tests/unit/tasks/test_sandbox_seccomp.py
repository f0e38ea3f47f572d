import platform
import struct
from pathlib import Path

import pytest

from prorl_nemo.tasks import sandbox_seccomp
from prorl_nemo.tasks.sandbox_command import SandboxError


def test_the_filter_is_refused_where_its_numbers_are_unknown() -> None:
    with pytest.raises(SandboxError, match="no system call filter for riscv64"):
        sandbox_seccomp.build_filter("riscv64")


@pytest.mark.parametrize("machine", sorted(sandbox_seccomp.MACHINES))
def test_the_filter_refuses_its_list_and_allows_the_rest(machine: str) -> None:
    # Follows the instructions by hand, as the kernel would.
    architecture, refused = sandbox_seccomp.MACHINES[machine]
    program = list(struct.iter_unpack("HBBI", sandbox_seccomp.build_filter(machine)))
    for number in range(500):
        verdict = run_filter(program, number=number, architecture=architecture)
        is_refused = number in refused.values()
        assert verdict == (
            sandbox_seccomp.REFUSE_WITH_EPERM if is_refused else sandbox_seccomp.ALLOW
        )
    kill = sandbox_seccomp.KILL_PROCESS
    assert run_filter(program, number=0, architecture=0x40000003) == kill
    assert run_filter(program, number=0x40000000, architecture=architecture) == kill


def run_filter(program: list[tuple[int, int, int, int]], *, number: int, architecture: int) -> int:
    position, accumulator = 0, 0
    while True:
        code, if_true, if_false, constant = program[position]
        position += 1
        if code == sandbox_seccomp.RETURN:
            return constant
        if code == sandbox_seccomp.LOAD:
            accumulator = {0: number, 4: architecture}[constant]
            continue
        is_true = (
            accumulator == constant
            if code == sandbox_seccomp.JUMP_EQUAL
            else accumulator >= constant
        )
        position += if_true if is_true else if_false


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads the headers of x86_64")
def test_the_numbers_are_the_kernel_headers_own() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("linux-libc-dev is not installed")
    numbers = dict(line.split()[1:3] for line in header.read_text().splitlines() if "__NR_" in line)
    for name, number in sandbox_seccomp.X86_64_REFUSED.items():
        assert numbers[f"__NR_{name}"] == str(number)
