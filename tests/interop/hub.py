"""A hub of one's own: an HTTP server with the few routes that a download takes."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = 40 * "a"


@contextmanager
def hub_of(repositories: dict[str, Path], status: int = 404):
    """Serves directories as the repositories of these names; of any other, the status; yields the address."""

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            place = self.path.partition("?")[0].removeprefix("/api/models").strip("/").split("/")
            folder = repositories.get("/".join(place[:2]))
            match place[2:]:
                case _ if folder is None:
                    self.answer(b"", status=status, **{"X-Error-Code": "RepoNotFound" if status == 404 else ""})
                case ["revision", "main"] | []:
                    files = [{"rfilename": name} for name in sorted(file.name for file in folder.iterdir())]
                    self.answer({"id": "/".join(place[:2]), "sha": COMMIT, "siblings": files})
                case ["revision", _]:
                    self.answer(b"", status=404, **{"X-Error-Code": "RevisionNotFound"})
                case ["tree", _]:
                    files = sorted(folder.iterdir())
                    self.answer(
                        [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": etag(f)} for f in files]
                    )
                case ["resolve", _, name]:
                    file = folder / name
                    self.answer(file.read_bytes(), ETag=f'"{etag(file)}"', **{"X-Repo-Commit": COMMIT})

        do_HEAD = do_GET

        def answer(self, body, status=200, **headers):
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            headers |= {"Content-Length": str(len(content))}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    def etag(file: Path) -> str:
        return hashlib.sha1(file.read_bytes()).hexdigest()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
