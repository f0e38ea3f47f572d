"""What a hostile process may say to the parent, without any sandbox around it."""

import subprocess
import sys
import time

import pytest

from prorl_nemo.tasks.sandbox_session import Reply, SandboxSession, decode_value


def fake_session(script: str, *, seconds: float = 5.0) -> SandboxSession:
    """A session with a process that says what a hostile harness might say."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    return SandboxSession(
        process, nonce="n0", max_reply_bytes=100, deadline=time.monotonic() + seconds
    )


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        ("n0 ok 2000000 3\\nabc", Reply("ok", b"abc", 2.0)),
        ("n1 ok 0 3\\nabc", Reply("dead")),
        ("n0 paid 0 3\\nabc", Reply("dead")),
        ("n0 timeout 0 0\\n", Reply("dead")),
        ("n0 ok 0 101\\n" + "a" * 101, Reply("dead")),
        ("n0 ok 0 -1\\n", Reply("dead")),
        ("n0 ok -5 3\\nabc", Reply("dead")),
        ("n0 ok 0 5\\nabc", Reply("dead")),
        ("n0 ok\\n", Reply("dead")),
        ("a" * 1000, Reply("dead")),
        ("\\xff\\xfe\\n", Reply("dead")),
        ("", Reply("dead")),
    ],
)
def test_a_reply_that_breaks_the_protocol_is_no_reply(said: str, reply: Reply) -> None:
    script = f"import sys; sys.stdin.buffer.read(8); print('{said}', end='', flush=True)"
    with fake_session(script) as session:
        assert session.request(("stdin", b"x")) == reply


@pytest.mark.parametrize("size", [1, 10_000_000], ids=["no reply", "a request nobody reads"])
def test_a_process_that_does_nothing_costs_its_deadline(size: int) -> None:
    started = time.monotonic()
    with fake_session("import time; time.sleep(60)", seconds=0.5) as session:
        assert session.request(("stdin", b"x" * size)) == Reply("timeout")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b'["tuple",1,["list"],["dict","a",null]]', (1, [], {"a": None})),
        (b'["set",["int","-400000000000000000"]]', {-(2**70)}),
        (b'["float","-inf"]', float("-inf")),
        (b'["complex","1.0","-2.0"]', 1 - 2j),
        (b'["bytes","00ff"]', b"\x00\xff"),
        (b'["frozenset",true]', frozenset([True])),
    ],
)
def test_values_are_rebuilt_as_built_in_types(payload: bytes, value: object) -> None:
    assert decode_value(payload) == value


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"1.5",
        b"{}",
        b"[]",
        b'["object"]',
        b'["int"]',
        b'["int","x"]',
        b'["set",["list"]]',
        b'["dict",1]',
        b"[[]]",
        b'["list",' * 100_000,
        b"9" * 10_000,
        b"\xff",
    ],
)
def test_malformed_values_are_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError, match="not a value that the runner writes"):
        decode_value(payload)
