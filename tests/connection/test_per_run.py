"""What is made once for each run of Trio."""

from __future__ import annotations

import itertools

import pytest
import trio

from trio_websocket._connection.per_run import PerRun


def test_a_value_is_made_once_for_each_run_and_gone_with_it() -> None:
    made = itertools.count()
    first, second = PerRun(lambda: next(made)), PerRun(lambda: next(made))

    async def find() -> list[int]:
        await trio.lowlevel.checkpoint()
        return [first.find(), second.find(), first.find(), second.find()]

    assert trio.run(find) == [0, 1, 0, 1]
    assert trio.run(find) == [2, 3, 2, 3]


def test_a_value_is_of_a_run_and_of_nothing_else() -> None:
    with pytest.raises(RuntimeError):
        PerRun(list[int]).find()


async def test_runs_in_other_threads_have_values_of_their_own() -> None:
    values = PerRun(object)

    async def find() -> object:
        await trio.lowlevel.checkpoint()
        return values.find()

    here = values.find()
    there = await trio.to_thread.run_sync(trio.run, find)
    assert here is values.find()
    assert here is not there
