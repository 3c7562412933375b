"""A web server of one file, with the ways in which servers and networks fail."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """Serves `content` at every path.

    Attributes:
        address: Its URL, without a path.
        content, tag, status, kind: The file, its ETag, the status code and the content type of answers.
        ranges: It answers requests for a range with that range.
        drops: The bytes after which it hangs up, for one answer each.
        length: The length that it announces; None for the content's, 0 for none.
        stalls: The seconds that it waits in the middle of an answer.
        asked: The range of each request, None for the whole.
        paths: The path of each request.
        sent: The number of bytes that it sent.
    """

    def __init__(self, content, tag='"one"'):
        self.content, self.tag, self.status, self.kind = content, tag, 200, "application/octet-stream"
        self.ranges, self.drops, self.length, self.stalls = True, [], None, 0.0
        self.asked, self.paths, self.sent = [], [], 0

    def answer(self, request):
        """Answers one request."""
        asked = request.headers.get("Range")
        self.asked.append(asked)
        self.paths.append(request.path)
        same = request.headers.get("If-Range") in (None, self.tag)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges and same else 0
        body, total = self.content[start:], len(self.content)
        if start >= total > 0:
            request.send_error(416)
            return
        request.send_response(206 if start else self.status)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if self.tag:
            request.send_header("ETag", self.tag)
        if self.length != 0:
            request.send_header("Content-Length", str(self.length or len(body)))
        request.send_header("Content-Type", self.kind)
        request.end_headers()
        if self.drops:
            body = body[: self.drops.pop(0)]
        half = len(body) // 2
        for part in (body[:half], body[half:]) if self.stalls else (body,):
            request.wfile.write(part)
            request.wfile.flush()
            self.sent += len(part)
            time.sleep(self.stalls)


@contextmanager
def serving(content):
    """A `FileServer` in a thread."""
    server = FileServer(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        def log_message(self, *_):
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_):
            pass  # its client has left

    with Quiet(("127.0.0.1", 0), Handler) as listening:
        server.address = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        listening.shutdown()
        thread.join()
