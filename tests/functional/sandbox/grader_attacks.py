"""Programs that want to be paid for nothing: by finding the answer or forging a verdict.

The problem behind them: read a word, answer with a word that only the grader knows. The
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

GRADER_ATTACKS = {
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
