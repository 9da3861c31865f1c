"""Why a connection was closed, and how that is sent (T-14)."""

from __future__ import annotations

import copy
import pickle

import pytest
from wsproto.frame_protocol import CloseReason as WsprotoCode

from trio_websocket._close_reason import (
    CloseCode,
    CloseReason,
    check_close,
    closed_reason,
)


@pytest.mark.parametrize("theirs", list(WsprotoCode))
def test_every_code_of_wsproto_has_the_same_name_and_number(
    theirs: WsprotoCode,
) -> None:
    assert int(CloseCode[theirs.name]) == int(theirs)
    assert CloseReason(theirs, None).name == theirs.name


def test_the_only_code_beyond_those_of_wsproto_is_bad_gateway() -> None:
    assert set(CloseCode) - set(WsprotoCode) == {CloseCode.BAD_GATEWAY}
    assert int(CloseCode.BAD_GATEWAY) == 1014


@pytest.mark.parametrize("code", list(CloseCode))
def test_every_code_has_a_description_of_its_own(code: CloseCode) -> None:
    same = [other for other in CloseCode if other.description == code.description]
    assert same == [code]
    assert code.description.strip() == code.description != ""


@pytest.mark.parametrize(
    ("code", "names"),
    [
        (1000, "NORMAL"),
        (1001, "GOING_AWAY"),
        (1002, "PROTOCOL_ERROR"),
        (1003, "DATA_NOT_UNDERSTOOD UNACCEPTABLE_DATA NOACCEPT_DTYPE"),
        (1005, "NO_STATUS"),
        (1006, "ABNORMAL_CLOSE"),
        (1007, "BAD_DATA INCONSISTENT_DATA INVALID_DATA"),
        (1008, "POLICY_VIOLATION POLICY"),
        (1009, "MESSAGE_TOO_LARGE MESSAGE_TOO_BIG MESSAGE_TOOBIG"),
        (1010, "EXTENSION_FAILED EXTENSION_NOT_PRESENT MISSING_EXTENSIONS"),
        (1011, "UNEXPECTED_CONDITION UNABLE"),
        (1015, "TLS_HANDSHAKE_FAILURE"),
    ],
)
def test_a_code_has_the_names_that_programs_know(code: int, names: str) -> None:
    """L-81, W-13, A-36."""
    for name in names.split():
        assert CloseCode[name] is CloseCode(code)
        assert CloseCode(code).name in dir(WsprotoCode)


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (b"", 1005, None),
        (b"\x03\xe8", 1000, None),
        (b"\x0f\xa0\xe2\x82\xac", 4000, "\u20ac"),
        (b"\x00\x00x", 0, "x"),
    ],
)
def test_the_body_of_a_close_frame_is_read(
    payload: bytes, code: int, reason: str | None
) -> None:
    """W-12."""
    parsed = CloseReason.parse(payload)
    assert (parsed.code, parsed.reason) == (code, reason)


@pytest.mark.parametrize("payload", [b"\x03", b"\x03\xe8\xff"])
def test_a_bad_body_of_a_close_frame_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # of UTF-8, or our own
        CloseReason.parse(payload)


def test_a_code_prints_as_its_number() -> None:
    assert str(CloseCode.GOING_AWAY) == "1001"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (-1, "INVALID_CODE"),
        (0, "INVALID_CODE"),
        (999, "INVALID_CODE"),
        (1000, "NORMAL_CLOSURE"),
        (1004, "RFC_RESERVED"),
        (1005, "NO_STATUS_RCVD"),
        (1006, "ABNORMAL_CLOSURE"),
        (1013, "TRY_AGAIN_LATER"),
        (1014, "RFC_RESERVED"),
        (1015, "TLS_HANDSHAKE_FAILED"),
        (1016, "RFC_RESERVED"),
        (2999, "RFC_RESERVED"),
        (3000, "IANA_RESERVED"),
        (3999, "IANA_RESERVED"),
        (4000, "PRIVATE_RESERVED"),
        (4999, "PRIVATE_RESERVED"),
        (5000, "INVALID_CODE"),
        (70000, "INVALID_CODE"),
    ],
)
def test_a_reason_names_its_code_or_the_range_of_it(code: int, name: str) -> None:
    reason = CloseReason(code, "bye")
    assert (reason.code, reason.name, reason.reason) == (code, name, "bye")


@pytest.mark.parametrize("code", [1000, 1014, WsprotoCode.NORMAL_CLOSURE])
def test_a_known_code_becomes_a_member(code: int) -> None:
    assert isinstance(CloseReason(code, None).code, CloseCode)
    assert CloseReason(code, None).code == code


def test_an_unknown_code_stays_a_plain_number() -> None:
    assert type(CloseReason(4000, None).code) is int


def test_the_code_of_a_reason_equals_that_of_wsproto() -> None:
    assert CloseReason(1000, None).code == WsprotoCode.NORMAL_CLOSURE


def test_a_float_that_is_a_known_code_will_do() -> None:
    assert CloseReason(1000.0, None).name == "NORMAL_CLOSURE"  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["abc", None, []])
def test_a_reason_refuses_a_code_that_is_no_number(code: int) -> None:
    with pytest.raises(TypeError):
        CloseReason(code, None)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (
            CloseReason(1000, None),
            "CloseReason<code=1000, name=NORMAL_CLOSURE, reason=None>",
        ),
        (
            CloseReason(4000, "a b"),
            "CloseReason<code=4000, name=PRIVATE_RESERVED, reason=a b>",
        ),
    ],
)
def test_a_reason_prints_its_code_as_a_number(reason: CloseReason, text: str) -> None:
    assert repr(reason) == str(reason) == text


@pytest.mark.parametrize("name", ["code", "name", "reason"])
def test_a_reason_cannot_be_changed(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(CloseReason(1000, None), name, None)


def test_a_reason_equals_nothing_but_itself_and_is_true() -> None:
    reason = CloseReason(1000, None)
    assert reason == reason  # noqa: PLR0124
    assert reason != CloseReason(1000, None)
    assert bool(CloseReason(0, None)) is True
    assert len({reason, CloseReason(1000, None)}) == 2


def test_a_reason_pickles_and_copies() -> None:
    reason = CloseReason(4001, "bye")
    copies = [
        pickle.loads(pickle.dumps(reason)),  # noqa: S301
        copy.copy(reason),
        copy.deepcopy(reason),
    ]
    assert [repr(other) for other in copies] == [repr(reason)] * 3


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (None, None, (1005, None)),
        (None, "", (1005, None)),
        (1000, "", (1000, None)),
        (1000, "bye", (1000, "bye")),
        (4000, None, (4000, None)),
    ],
)
def test_closed_reason_makes_up_for_what_a_frame_left_out(
    code: int | None, text: str | None, expected: tuple[int, str | None]
) -> None:
    reason = closed_reason(code, text)
    assert (reason.code, reason.reason) == expected


@pytest.mark.parametrize(
    "code",
    [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999],
)
def test_a_code_that_may_be_sent_is_sent_as_it_is(code: int) -> None:
    assert check_close(code, "bye") == (code, "bye")
    assert check_close(code, None) == (code, "")


@pytest.mark.parametrize("code", [None, 1005, CloseCode.NO_STATUS_RCVD])
@pytest.mark.parametrize("reason", [None, ""])
def test_no_code_makes_an_empty_close(code: int | None, reason: str | None) -> None:
    assert check_close(code, reason) == (None, "")


@pytest.mark.parametrize("code", [None, 1005, WsprotoCode.NO_STATUS_RCVD])
def test_a_reason_without_a_code_is_a_type_error(code: int | None) -> None:
    with pytest.raises(TypeError, match="needs a close code"):
        check_close(code, "bye")


@pytest.mark.parametrize("code", [1006, 1015, WsprotoCode.ABNORMAL_CLOSURE])
def test_a_code_for_local_use_is_sent_as_1000_and_keeps_its_reason(code: int) -> None:
    assert check_close(code, "bye") == (1000, "bye")
    assert check_close(code, None) == (1000, "")


@pytest.mark.parametrize(
    "code", [-1, 0, 5, 999, 1004, 1016, 2000, 2999, 5000, 65536, 70000, True]
)
def test_any_other_code_is_a_value_error_that_names_it(code: int) -> None:
    with pytest.raises(ValueError, match=f"^the close code {int(code)} may not"):
        check_close(code, None)


@pytest.mark.parametrize("code", ["1000", 1000.0, b"\x03\xe8", [1000]])
def test_a_code_that_is_not_an_int_is_a_type_error(code: int) -> None:
    with pytest.raises(TypeError, match="close code must be an int"):
        check_close(code, None)


@pytest.mark.parametrize("reason", [b"bye", 5, ["bye"]])
@pytest.mark.parametrize("code", [1000, None])
def test_a_reason_that_is_not_a_str_is_a_type_error(
    code: int | None, reason: str
) -> None:
    with pytest.raises(TypeError, match="close reason must be a str"):
        check_close(code, reason)


@pytest.mark.parametrize("code", [WsprotoCode.GOING_AWAY, CloseCode.GOING_AWAY])
def test_what_is_sent_is_a_plain_number(code: int) -> None:
    sent, _ = check_close(code, None)
    assert type(sent) is int
    assert sent == 1001


@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        ("x" * 123, "x" * 123),
        ("x" * 124, "x" * 123),
        ("ü" * 61, "ü" * 61),
        ("ü" * 62, "ü" * 61),
        ("x" + "ü" * 61, "x" + "ü" * 61),
        ("€" * 41, "€" * 41),
        ("€" * 42, "€" * 41),
        ("x" + "€" * 41, "x" + "€" * 40),
        ("xx" + "€" * 41, "xx" + "€" * 40),
        ("\U0001f600" * 31, "\U0001f600" * 30),
        ("x" * 122 + "\U0001f600", "x" * 122),
    ],
)
def test_a_long_reason_is_cut_between_two_characters(reason: str, sent: str) -> None:
    assert check_close(1000, reason) == (1000, sent)


@pytest.mark.parametrize("reason", ["\ud800", "bye \udfff", "x" * 200 + "\ud800"])
@pytest.mark.parametrize("code", [1000, 1006, 4000])
def test_a_reason_with_a_lone_surrogate_is_a_value_error(
    code: int, reason: str
) -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        check_close(code, reason)
