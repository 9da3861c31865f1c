"""A conversation with a browser: its client, and a server of ours.

The browser opens a page from a file. Its script has each of its messages sent back, and
compares; then it closes, and tells over another connection what it has seen.

Where there is no browser nothing here is run, so nothing here counts for the coverage.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path

import pytest
import trio

from trio_websocket import (
    DeflateAgreement,
    Endpoint,
    PerMessageDeflate,
    WebSocketConnection,
    WebSocketRequest,
    serve_websocket,
)
from trio_websocket._options import Compression

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
TIME_LIMIT = 50  # seconds; on a machine with nothing else to do it takes two

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"there is no browser on the path: {', '.join(NAMES)}"
)

PAGE = """\
<!DOCTYPE html>
<meta charset="utf-8">
<script>
"use strict";

function makeBytes(size) {
  const bytes = new Uint8Array(size);
  let draw = 1;
  for (let at = 0; at < size; at++) {
    draw = draw * 48271 % 2147483647;
    bytes[at] = at % 3 ? draw : at >> 8;
  }
  return bytes;
}

function isEqual(sent, received) {
  if (typeof sent === "string") return sent === received;
  if (!(received instanceof ArrayBuffer)) return false;
  const bytes = new Uint8Array(received);
  return bytes.length === sent.length && bytes.every((byte, at) => byte === sent[at]);
}

const messages = ["", "text", "\\u00fc\\u20ac\\u{1f600}", "long ".repeat(200000)];
for (const size of [0, 1, 125, 126, 65535, 65536, 1000000])
  messages.push(makeBytes(size));
for (let number = 0; number < 1000; number++)
  messages.push(`number ${number} of many small messages`);

const seen = { received: 0, wrong: [] };
const socket = new WebSocket("URL", ["chat"]);
socket.binaryType = "arraybuffer";
socket.onopen = () => {
  seen.extensions = socket.extensions;
  seen.subprotocol = socket.protocol;
  for (const message of messages) socket.send(message);
};
socket.onmessage = (event) => {
  const number = seen.received++;
  if (!isEqual(messages[number], event.data)) seen.wrong.push(number);
  if (seen.received === messages.length) socket.close(3000, "that is all \\u20ac");
};
socket.onclose = (event) => {
  seen.close = [event.code, event.reason, event.wasClean];
  const report = new WebSocket("URLreport");
  report.onopen = () => report.send(JSON.stringify(seen));
};
</script>
"""
MESSAGES = 1011
REASON = "that is all \u20ac"


class Host:  # pragma: no cover
    """A server's side of the conversation.

    Attributes:
        connection: The one on which messages are sent back.
        report: What the browser has seen.

    """

    def __init__(self) -> None:
        self.connection: WebSocketConnection | None = None
        self.report: object = None
        self.is_done = trio.Event()

    async def handle(self, request: WebSocketRequest) -> None:
        if request.path == "/report":
            connection = await request.accept()
            self.report = await connection.get_json()
            self.is_done.set()
            return
        connection = await request.accept(subprotocol="chat")
        self.connection = connection
        number = 0
        async for message in connection:
            await connection.send_message(message, compress=number % 3 > 0)
            number += 1


async def browse(browser: str, page: Path) -> None:  # pragma: no cover
    """Run a browser until cancelled."""
    command = [
        browser,
        "--headless",
        "--no-sandbox",  # which root may not use
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        f"--user-data-dir={page.parent / 'profile'}",
        "--remote-debugging-port=0",  # else it ends when the page is loaded
        page.as_uri(),
    ]

    async def kill(process: trio.Process) -> None:
        # It has many processes, all in the session that was made for it.
        os.killpg(process.pid, signal.SIGKILL)

    await trio.run_process(
        command,
        deliver_cancel=kill,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    raise AssertionError("the browser has ended by itself")


@pytest.mark.parametrize(
    ("options", "agreed", "extensions"),
    [
        (
            "deflate",
            DeflateAgreement(False, False, 12, 12),
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        ),
        (
            PerMessageDeflate(
                client_no_context_takeover=True,
                server_no_context_takeover=True,
                client_max_window_bits=15,
                server_max_window_bits=15,
            ),
            DeflateAgreement(True, True, 15, 15),
            (
                "permessage-deflate; server_no_context_takeover;"
                " client_no_context_takeover"
            ),
        ),
        (None, None, ""),
    ],
    ids=["deflate", "no_context_takeover", "plain"],
)
async def test_a_browser_gets_back_what_it_sends(
    options: Compression,
    agreed: DeflateAgreement | None,
    extensions: str,
    tmp_path: Path,
) -> None:  # pragma: no cover
    host = Host()
    page = tmp_path / "page.html"
    with trio.fail_after(TIME_LIMIT):
        async with trio.open_nursery() as nursery:
            start = partial(
                serve_websocket, host.handle, "127.0.0.1", 0, None, compression=options
            )
            server = await nursery.start(start)
            [endpoint] = server.listeners
            assert isinstance(endpoint, Endpoint)
            url = f"ws://127.0.0.1:{endpoint.port}/"
            page.write_text(PAGE.replace("URL", url), encoding="utf-8")
            assert BROWSER is not None
            nursery.start_soon(browse, BROWSER, page)
            await host.is_done.wait()
            nursery.cancel_scope.cancel()
    assert host.report == {
        "received": MESSAGES,
        "wrong": [],
        "extensions": extensions,
        "subprotocol": "chat",
        "close": [3000, REASON, True],
    }
    assert host.connection is not None
    assert host.connection.compression == agreed
    closed = host.connection.closed
    assert closed is not None
    assert (closed.code, closed.reason) == (3000, REASON)
