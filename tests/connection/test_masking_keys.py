from __future__ import annotations

import cProfile
import itertools
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import trio

from trio_websocket._connection.masking_keys import MaskingKeys, find_masking_keys

from .rig import open_pair, open_rig


def split(keys: bytes) -> list[bytes]:
    return [keys[start : start + 4] for start in range(0, len(keys), 4)]


def test_a_key_has_four_bytes() -> None:
    keys = MaskingKeys()
    assert {len(keys.draw()) for _ in range(3000)} == {4}


@pytest.mark.parametrize("count", [0, 1, 2, 255, 1023, 1024, 1025, 5000])
def test_so_many_keys_are_drawn_as_are_asked_for(count: int) -> None:
    keys = MaskingKeys()
    for _ in range(4):
        assert len(keys.draw(count)) == 4 * count


@pytest.mark.parametrize("counts", [[1] * 3000, [256] * 12, [1, 1024, 3, 1025, 300, 7]])
def test_no_key_is_used_twice(counts: list[int]) -> None:
    """Of 3,000 random ones two are the same once in 1,000 runs, but not two pairs."""
    keys = MaskingKeys()
    drawn = b"".join(keys.draw(count) for count in counts)
    pairs = [drawn[start : start + 8] for start in range(0, len(drawn) - 8, 4)]
    assert len(set(pairs)) == len(pairs)


def count_questions(draw: Callable[[], object]) -> int:
    """Tell how often the system was asked for random bytes."""
    profile = cProfile.Profile()
    profile.runcall(draw)
    return sum(
        entry.callcount
        for entry in profile.getstats()
        if isinstance(entry.code, str) and "urandom" in entry.code
    )


def test_the_system_is_asked_for_many_keys_at_once() -> None:
    keys = MaskingKeys()

    def draw() -> None:
        for _ in range(10 * 1024):
            keys.draw()

    assert count_questions(draw) == 10


def test_what_was_forgotten_is_not_used() -> None:
    keys = MaskingKeys()
    keys.draw(10)
    assert count_questions(lambda: keys.draw(10)) == 0
    keys.forget()
    assert count_questions(lambda: keys.draw(10)) == 1


def test_a_run_has_one_pool_and_the_next_run_another() -> None:
    async def find_twice() -> tuple[MaskingKeys, MaskingKeys]:
        await trio.lowlevel.checkpoint()
        return find_masking_keys(), find_masking_keys()

    first, again = trio.run(find_twice)
    second, _ = trio.run(find_twice)
    assert first is again
    assert second is not first


async def test_no_two_messages_of_a_client_have_the_same_key() -> None:
    wire = b""
    async with open_rig() as rig:
        for number in range(100):
            await rig.connection.send_message(b"%04d" % number)
        await rig.connection.send_messages(b"%04d" % number for number in range(100))
        while len(wire) < 200 * 10:
            wire += await rig.peer.stream.receive_some()
    keys = [wire[start + 2 : start + 6] for start in range(0, len(wire), 10)]
    assert len(keys) == 200
    assert len(set(keys)) >= 199


async def test_connections_of_one_run_do_not_share_a_key() -> None:
    keys: list[bytes] = []
    async with open_rig() as first, open_rig() as second:
        for _ in range(50):
            for rig in (first, second):
                await rig.connection.send_message(b"")
                keys.append(bytes(await rig.peer.stream.receive_some())[2:])
    assert len(set(keys)) >= 99


async def test_a_server_masks_nothing() -> None:
    async with open_pair() as (_, server), open_rig(is_client=False) as rig:
        assert server.is_server
        await rig.connection.send_message(b"hello")
        await rig.connection.send_messages([b"hello"])
        assert await rig.peer.stream.receive_some(7) == b"\x82\x05hello"
        assert await rig.peer.stream.receive_some(7) == b"\x82\x05hello"


def test_the_system_is_asked_for_many_keys_at_once_also_for_a_stream_of_them() -> None:
    keys = MaskingKeys()

    def draw() -> None:
        for _ in range(10 * 1024):
            next(keys.stream)

    assert count_questions(draw) == 10


def test_no_key_of_a_stream_is_used_twice() -> None:
    stream = MaskingKeys().stream
    keys = [next(stream) for _ in range(3000)]
    assert {len(key) for key in keys} == {4}
    pairs = set(itertools.pairwise(keys))
    assert len(pairs) == 2999


def test_what_was_forgotten_is_not_in_the_next_stream() -> None:
    keys = MaskingKeys()
    next(keys.stream)
    assert count_questions(lambda: next(keys.stream)) == 0
    keys.forget()
    assert count_questions(lambda: next(keys.stream)) == 1


FORK = """
import os, trio
from itertools import islice
from trio_websocket._connection.masking_keys import find_masking_keys

async def main():
    keys = find_masking_keys()
    keys.draw()
    next(keys.stream)
    child = os.fork()
    drawn = keys.draw(100).hex() + b"".join(islice(keys.stream, 100)).hex()
    if child:
        assert os.waitpid(child, 0)[1] == 0
    print(drawn, flush=True)
    if not child:
        os._exit(0)

trio.run(main)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")
def test_a_forked_child_draws_other_keys_than_its_parent() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK], check=True, capture_output=True, timeout=30
    )
    theirs, ours = (bytes.fromhex(line) for line in done.stdout.decode().split())
    assert len(theirs) == len(ours) == 800
    assert len(set(split(ours)) & set(split(theirs))) < 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_what_was_fetched_is_thrown_away_before_a_fork() -> None:
    """Whatever the child does with it."""
    keys = MaskingKeys()
    keys.draw()
    child = os.fork() or os._exit(0)
    os.waitpid(child, 0)
    assert count_questions(keys.draw) == 1
