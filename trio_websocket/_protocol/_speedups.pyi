from collections.abc import Sequence

def decode(
    data: bytes | memoryview, start: int, is_client: bool, limit: int, max_size: int, /
) -> tuple[list[str | bytes], int]: ...
def encode(message: str | bytes, masking_key: bytes | None, /) -> bytes: ...
def cut(
    data: bytes | memoryview, start: int, is_client: bool, limit: int, max_size: int, /
) -> tuple[list[bytes], int]: ...
def wrap(first: int, payload: bytes, masking_key: bytes | None, /) -> bytes: ...
def encode_batch(
    messages: Sequence[object],
    start: int,
    masking_keys: bytes | None,
    max_size: int,
    /,
) -> tuple[bytes, int]: ...
def mask(
    target: bytearray | memoryview,
    source: bytes | bytearray | memoryview,
    start: int,
    stop: int,
    masking_key: bytes,
    /,
) -> None: ...
