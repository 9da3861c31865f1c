from __future__ import annotations

import itertools

import pytest
from wsproto.connection import Connection, ConnectionType

from trio_websocket._protocol.engine import Engine
from trio_websocket._protocol.state import (
    MAY_RECEIVE,
    MAY_SEND_CLOSE,
    MAY_SEND_MESSAGES,
    TRANSITIONS,
    ConnectionState,
    Step,
)

# Written down once more, as RFC 6455 section 7 has it: state, what happens, state.
EXPECTED = """
    OPEN            CLOSE_SENT       LOCAL_CLOSING
    OPEN            CLOSE_RECEIVED   REMOTE_CLOSING
    OPEN            VIOLATION_FOUND  FAILING
    OPEN            STREAM_ENDED     CLOSED
    FAILING         CLOSE_SENT       FAILED
    FAILING         STREAM_ENDED     CLOSED
    FAILED          STREAM_ENDED     CLOSED
    LOCAL_CLOSING   CLOSE_RECEIVED   CLOSE_EXCHANGED
    LOCAL_CLOSING   VIOLATION_FOUND  FAILED
    LOCAL_CLOSING   STREAM_ENDED     CLOSED
    REMOTE_CLOSING  CLOSE_SENT       CLOSE_EXCHANGED
    REMOTE_CLOSING  STREAM_ENDED     CLOSED
    CLOSE_EXCHANGED STREAM_ENDED     CLOSED
"""
TABLE = {
    (ConnectionState[before], Step[step]): ConnectionState[after]
    for before, step, after in map(str.split, EXPECTED.strip().splitlines())
}
PAIRS = list(itertools.product(ConnectionState, Step))

# The shortest way into each state.
WAYS: dict[ConnectionState, list[Step]] = {
    ConnectionState.OPEN: [],
    ConnectionState.FAILING: [Step.VIOLATION_FOUND],
    ConnectionState.FAILED: [Step.VIOLATION_FOUND, Step.CLOSE_SENT],
    ConnectionState.LOCAL_CLOSING: [Step.CLOSE_SENT],
    ConnectionState.REMOTE_CLOSING: [Step.CLOSE_RECEIVED],
    ConnectionState.CLOSE_EXCHANGED: [Step.CLOSE_SENT, Step.CLOSE_RECEIVED],
    ConnectionState.CLOSED: [Step.STREAM_ENDED],
}


def make_engine(state: ConnectionState) -> Engine:
    engine = Engine(Connection(ConnectionType.CLIENT), is_client=True)
    for step in WAYS[state]:
        engine.take_step(step)
    assert engine.state is state
    return engine


def name(value: object) -> str | None:
    return value.name if isinstance(value, (ConnectionState, Step)) else None


@pytest.mark.parametrize(("state", "step"), PAIRS, ids=name)
def test_each_step_leads_where_the_table_says_or_is_refused(
    state: ConnectionState, step: Step
) -> None:
    engine = make_engine(state)
    if (state, step) in TABLE:
        engine.take_step(step)
        assert engine.state is TABLE[state, step]
    else:
        with pytest.raises(KeyError):
            engine.take_step(step)
        assert engine.state is state


def test_the_table_has_every_state_and_nothing_more_than_expected() -> None:
    assert set(TRANSITIONS) == set(ConnectionState)
    assert {
        (state, step): after
        for state, steps in TRANSITIONS.items()
        for step, after in steps.items()
    } == TABLE


@pytest.mark.parametrize("step", Step, ids=name)
def test_closed_is_final(step: Step) -> None:
    assert step not in TRANSITIONS[ConnectionState.CLOSED]


@pytest.mark.parametrize("state", list(ConnectionState)[:-1], ids=name)
def test_the_end_of_the_stream_leads_from_every_state_to_closed(
    state: ConnectionState,
) -> None:
    engine = make_engine(state)
    engine.receive_eof()
    assert engine.state is ConnectionState.CLOSED


@pytest.mark.parametrize("state", ConnectionState, ids=name)
def test_what_may_be_sent_or_received_follows_from_the_table(
    state: ConnectionState,
) -> None:
    assert (state in MAY_SEND_CLOSE) == (Step.CLOSE_SENT in TRANSITIONS[state])
    assert (state in MAY_RECEIVE) == (Step.CLOSE_RECEIVED in TRANSITIONS[state])
    # After either Close frame there are no messages (RFC 6455 section 5.5.1).
    is_close_out = Step.CLOSE_SENT in WAYS[state] or Step.CLOSE_RECEIVED in WAYS[state]
    is_over = state is ConnectionState.CLOSED
    assert (state in MAY_SEND_MESSAGES) == (not is_close_out and not is_over)


@pytest.mark.parametrize("state", ConnectionState, ids=name)
def test_nothing_is_parsed_in_a_state_that_receives_nothing(
    state: ConnectionState,
) -> None:
    assert make_engine(state).is_over == (state not in MAY_RECEIVE)
