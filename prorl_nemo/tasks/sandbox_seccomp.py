"""A seccomp filter for bubblewrap: system calls that no graded program needs.

It closes what namespaces and process limits leave open: memory that is charged to no
process (System V and POSIX queues and segments), reading another process of the sandbox,
and the kernel's richest interfaces. It is a list of refusals, not of permissions: the
namespaces are the wall, this is the second lock.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import struct
from collections.abc import Iterator

from prorl_nemo.tasks.sandbox_command import SandboxError

# Numbers from the kernel's tables: arch/x86/entry/syscalls/syscall_64.tbl and, for
# aarch64, include/uapi/asm-generic/unistd.h.
X86_64_REFUSED = {
    "shmget": 29,
    "shmat": 30,
    "semget": 64,
    "msgget": 68,
    "ptrace": 101,
    "pivot_root": 155,
    "mount": 165,
    "umount2": 166,
    "mq_open": 240,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "unshare": 272,
    "perf_event_open": 298,
    "setns": 308,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "kcmp": 312,
    "bpf": 321,
    "userfaultfd": 323,
    "io_uring_setup": 425,
    "pidfd_getfd": 438,
}
AARCH64_REFUSED = {
    "umount2": 39,
    "mount": 40,
    "pivot_root": 41,
    "unshare": 97,
    "ptrace": 117,
    "mq_open": 180,
    "msgget": 186,
    "semget": 190,
    "shmget": 194,
    "shmat": 196,
    "add_key": 217,
    "request_key": 218,
    "keyctl": 219,
    "perf_event_open": 241,
    "setns": 268,
    "process_vm_readv": 270,
    "process_vm_writev": 271,
    "kcmp": 272,
    "bpf": 280,
    "userfaultfd": 282,
    "io_uring_setup": 425,
    "pidfd_getfd": 438,
}
MACHINES = {"x86_64": (0xC000003E, X86_64_REFUSED), "aarch64": (0xC00000B7, AARCH64_REFUSED)}
X32_BIT = 0x40000000

LOAD, JUMP_EQUAL, JUMP_GREATER_EQUAL, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER_OFFSET, ARCHITECTURE_OFFSET = 0, 4
ALLOW, REFUSE_WITH_EPERM, KILL_PROCESS = 0x7FFF0000, 0x00050001, 0x80000000


@contextlib.contextmanager
def seccomp_filter() -> Iterator[int]:
    """An open descriptor from which bubblewrap reads the filter once."""
    descriptor = os.memfd_create("seccomp")
    try:
        os.write(descriptor, build_filter(platform.machine()))
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


@functools.lru_cache(maxsize=1)
def build_filter(machine: str) -> bytes:
    """The filter as classic BPF; SandboxError on a machine whose numbers are not listed.

    A foreign architecture's calls (also x32) kill the program, as their numbers differ.
    """
    if machine not in MACHINES:
        raise SandboxError(f"no system call filter for {machine}; known: {', '.join(MACHINES)}")
    architecture, refused = MACHINES[machine]
    numbers = sorted(refused.values())
    program = [
        (LOAD, 0, 0, ARCHITECTURE_OFFSET),
        (JUMP_EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, NUMBER_OFFSET),
        (JUMP_GREATER_EQUAL, 0, 1, X32_BIT),
        (RETURN, 0, 0, KILL_PROCESS),
    ]
    for index, number in enumerate(numbers):
        program.append((JUMP_EQUAL, len(numbers) - index, 0, number))
    program += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE_WITH_EPERM)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)
