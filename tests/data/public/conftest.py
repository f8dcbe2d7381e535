"""A web server on this machine whose faults the tests choose, and published files in miniature."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hemix.data.public import fetch


@dataclass
class Web:
    """What the server answers: `files` by path, each answer of `cuts` broken off after so many bytes, errors first."""

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    status: dict[str, list[int]] = field(default_factory=dict)
    ignore_range: bool = False
    ranges: list[str | None] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    state = Web()
    monkeypatch.setattr(fetch, "RETRY_PAUSE_SECONDS", 0.0)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix("/")
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            if state.status.get(path):
                self.send_error(state.status[path].pop(0))
                return
            if path not in state.files:
                self.send_error(404)
                return
            body = state.files[path]
            start = 0
            if asked and not state.ignore_range:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206)
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            end = start + state.cuts.pop(0) if state.cuts else len(body)
            self.wfile.write(body[start:end])

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test run is not a log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()
