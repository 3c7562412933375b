"""The live page over HTTP: a Flask application, which Waitress serves.

GET /            the page, with /page.css and /page.js; nothing is fetched from elsewhere
POST /classify   an image file's bytes to JSON: the five likeliest classes
POST /explain    the same, with heat map, first layer's maps and nearest indexed images

An image that cannot be used is answered by {"error": sentence}, as `alexnet predict --json` does; status codes other
than 200 are for requests.

On the loopback interface requests have to name this machine as their host, so that no other site's name can be bound
to it. Everywhere what a browser posts has to come from a page of the host that it names; under a name of its own that
is bound to another address of this machine, another site's page can post (docs/serving.md)."""

import errno
import ipaddress
import logging
import os
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from alexnet_keras.data.image_formats import UnreadableImage
from alexnet_keras.errors import AlexNetError, UsageError
from alexnet_keras.reporter import SILENT, Reporter
from alexnet_keras.reports.page import render
from alexnet_keras.storage.extras import optional

if TYPE_CHECKING:
    from flask import Flask, Response

    from alexnet_keras.serving.viewer import Viewer

MOST_BYTES = 32 * 2**20  # of a request
PLACES = 8  # images in work: one is computed, the others wait
THREADS = PLACES + 2  # so that the page and refusals are never waited for
CONNECTIONS = 50
CLASSES_NAMED = 1000
SHOWN = 40  # characters of a host that does not exist
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self)",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
BUSY = "The server is busy with other images; try this one again in a moment."
OTHER_NAME = "This server answers only as localhost or the address that it printed."
FOREIGN = "Only the page itself may post images: open it in a tab of its own."
FAILED = "The server failed at this image; its terminal says why."


def application(viewer: "Viewer", host: str = "127.0.0.1", reporter: Reporter = SILENT) -> "Flask":
    """Make the application.

    Args:
        viewer: Computes the answers.
        host: The address it is served at; on the loopback interface other names of the host are refused.
        reporter: Gets a warning for each image at which the server failed.

    Raises:
        UsageError: Flask is missing.
    """
    flask = optional("flask", "serve")
    errors = optional("werkzeug.exceptions", "serve")
    app, places, turn = flask.Flask(__name__, static_folder=None), threading.BoundedSemaphore(PLACES), threading.Lock()
    app.json.sort_keys = False
    app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
    texts = {
        "/": ("text/html", render("page.html.jinja", page_values(viewer), Path(__file__).parent)),
        "/page.css": ("text/css", render("page.css.jinja", {}, Path(__file__).parent)),
        "/page.js": ("text/javascript", (Path(__file__).parent / "page.js").read_text(encoding="utf-8")),
    }

    def refused(sentence: str, status: int) -> tuple[Any, int]:
        return flask.jsonify(error=sentence), status

    def answer(compute: Callable[[bytes], dict[str, Any]]) -> Any:
        origin = flask.request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != flask.request.host:
            return refused(FOREIGN, 403)
        encoded = flask.request.get_data(cache=False)
        if not places.acquire(blocking=False):
            return refused(BUSY, 503)
        try:
            with turn:
                return compute(encoded)
        except UnreadableImage as error:
            return {"error": f"This is no image that can be used: {str(error).removesuffix('.')}."}
        finally:
            places.release()

    def text() -> Any:
        kind, content = texts[flask.request.path]
        return flask.Response(content, content_type=f"{kind}; charset=utf-8")

    for path in texts:
        app.add_url_rule(path, path, text)
    for compute in (viewer.classify, viewer.explain):
        name = compute.__name__
        app.add_url_rule(f"/{name}", name, partial(answer, compute), methods=["POST"])

    @app.before_request
    def check_host() -> Any:
        if is_loopback(host) and not is_loopback(host_name(flask.request.host)):
            return refused(OTHER_NAME, 400)
        return None

    @app.errorhandler(AlexNetError)
    def failed(error: AlexNetError) -> Any:
        reporter.warn(str(error))  # it may name files
        return refused(FAILED, 500)

    @app.errorhandler(errors.HTTPException)
    def other(error: Any) -> Any:
        unexpected = error.code == 500  # Flask has logged it
        return refused(FAILED if unexpected else f"{error.name}.", error.code)

    @app.after_request
    def guarded(response: "Response") -> "Response":
        response.headers.update(HEADERS)
        return response

    return app


def page_values(viewer: "Viewer") -> dict[str, Any]:
    """Return what the page says of the network."""
    classifier = viewer.classifier
    row = classifier.run and classifier.run.row_of(classifier.which)
    return {
        "name": classifier.name,
        "recipe": classifier.recipe,
        "titles": classifier.titles[:CLASSES_NAMED],
        "classes": len(classifier.titles),
        "views": classifier.predictor.views,
        "error": row and row["val_top1_error"],
        "mebibytes": MOST_BYTES // 2**20,
    }


class Server:
    """The application at an address that `listen` returned; `run` answers until it is interrupted.

    Raises:
        UsageError: Waitress is missing.
    """

    def __init__(self, app: "Flask", address: socket.socket) -> None:
        waitress = optional("waitress", "serve")
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # requests that wait are no news
        self.host, self.port = address.getsockname()[:2]
        self._server = waitress.create_server(
            app,
            sockets=[address],
            threads=THREADS,
            connection_limit=CONNECTIONS,
            max_request_body_size=MOST_BYTES + 1,  # the first size that is refused, before the body is read
            inbuf_overflow=MOST_BYTES + 1,  # images are never written to a file,
            outbuf_overflow=MOST_BYTES + 1,  # nor are answers
            ident=None,
        )

    @property
    def url(self) -> str:
        """The page's address, as this machine's browser opens it."""
        host = ipaddress.ip_address(self.host)
        name = "localhost" if host.is_unspecified else f"[{host}]" if host.version == 6 else str(host)
        return f"http://{name}:{self.port}/"

    def run(self) -> None:
        """Answer until SIGINT or an exception in the main thread, or until `close`."""
        self._server.run()

    def close(self) -> None:
        """Close the address and all connections."""
        self._server.close()


def listen(host: str, port: int) -> socket.socket:
    """Bind an address of this machine, by its name or number; port 0 is any that is free.

    Raises:
        UsageError: There is no such address here, or the port is in use or not allowed.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except (socket.gaierror, UnicodeError) as error:
        raise UsageError(
            f"There is no host {host[:SHOWN]!r}: name one of this machine's addresses with --host."
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"{host} is no address of this machine: name one that is with --host.") from error
        reason = os.strerror(error.errno) if error.errno else error
        other = "give another with --port, or --port 0 for any that is free"
        raise UsageError(f"Port {port} of {host} cannot be used ({reason}): {other}.") from error


def is_loopback(host: str) -> bool:
    """Return True for the names and addresses that only this machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_name(header: str) -> str:
    """Return the name or address in a Host header, without the port; empty if there is none."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
