"""The live page over HTTP: answers, refusals, limits, and what no response may say."""

import http.client
import io
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from recorded import Recorded
from waitress import buffers

from alexnet_keras.errors import DataError, UsageError
from alexnet_keras.serving import server as serving
from alexnet_keras.serving.server import MOST_BYTES, PLACES, Server, application, host_name, listen

PAGE, STYLE, SCRIPT = "/", "/page.css", "/page.js"


def encoded(mode="RGB", form="JPEG", size=(300, 260)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, form)
    return file.getvalue()


class Stub:
    """A viewer whose answers a test decides."""

    def __init__(self, viewer, compute):
        self.classifier, self.nearest, self.compute = viewer.classifier, None, compute

    def classify(self, encoded):
        return self.compute(encoded)

    def explain(self, encoded):
        return self.compute(encoded)


@pytest.fixture(scope="module")
def served(viewer):
    """A server on a free port of the loopback interface."""
    with listen("127.0.0.1", 0) as address:
        server = Server(application(viewer), address)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        yield server
        server.close()


def post(server, body, path="/classify", headers=()):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", path, body, dict(headers))
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_an_image_posted_by_any_client_gets_the_classifiers_answer(client, viewer):
    image = encoded()
    expected = viewer.classify(image)
    assert client.post("/classify", data=image).get_json() == expected
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # which curl says by default
    assert client.post("/classify", data=image, headers=form).get_json() == expected
    explained = client.post("/explain", data=image).get_json()
    assert explained["predictions"] == expected["predictions"]
    assert set(explained) == {"predictions", "crop", "heat", "maps", "nearest", "nearest_title"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty file"),
        (b"this is text", "not a picture in a known format"),
        (encoded(form="PNG")[:100], "cut short"),
        (b"\0\0\0\x20ftypisom" + bytes(99), "a film"),
        (encoded("1", "PNG", (10_000, 10_000)), "more than 64,000,000"),
    ],
)
def test_what_is_no_image_is_answered_by_one_sentence(client, body, said):
    answer = client.post("/explain", data=body)
    assert answer.status_code == 200 and list(answer.get_json()) == ["error"]
    sentence = answer.get_json()["error"]
    assert sentence.startswith("This is no image that can be used: ") and said in sentence
    assert sentence.endswith(".") and not sentence.endswith("..")


def test_nothing_of_the_page_comes_from_elsewhere(client):
    for path in (PAGE, STYLE, SCRIPT):
        text = client.get(path).get_data(as_text=True)
        assert not re.search(r"(https?:)?//[a-z0-9]+\.", text), "no address of another host"
    page = client.get(PAGE).get_data(as_text=True)
    assert set(re.findall(r'(?:src|href)="([^"]*)"', page)) == {"data:,", STYLE, SCRIPT, "#content"}
    assert not re.search(r"<style|<script(?! src)| style=| on[a-z]+=", page), "which the policy would forbid"


def test_the_page_says_what_it_is_of(client, run, viewer, monkeypatch):
    page = client.get(PAGE).get_data(as_text=True)
    assert "<h1>tiny</h1>" in page and "recipe source" in page and "3 classes" in page
    assert "blue, green, red" in page and "Its error has not been measured here." in page
    (run.path / "history.csv").write_text("epoch,val_top1_error\n0,0.25\n1,0.5\n")
    try:
        for which, error in (("best", 25), ("last", 50)):
            monkeypatch.setattr(viewer.classifier, "which", which)
            page = application(viewer).test_client().get(PAGE).get_data(as_text=True)
            assert f"wrong for {error}.0\N{NO-BREAK SPACE}%" in page
    finally:
        (run.path / "history.csv").unlink()


@pytest.mark.parametrize(
    "request_", [("GET", PAGE), ("GET", SCRIPT), ("POST", "/classify"), ("GET", "/nothing"), ("GET", "/classify")]
)
def test_every_response_has_the_headers(client, request_):
    method, path = request_
    headers = client.open(path, method=method).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("host", "served_at", "status"),
    [
        ("evil.example:8700", "127.0.0.1", 400),
        ("127.0.0.1.evil.example", "localhost", 400),
        ("127.0.0.1:8700", "127.0.0.1", 200),
        ("localhost:8700", "127.0.0.1", 200),
        ("[::1]:8700", "::1", 200),
        ("box.local:8700", "0.0.0.0", 200),
    ],
)
def test_another_sites_name_bound_to_this_machine_is_refused(viewer, host, served_at, status):
    client = application(viewer, served_at).test_client()
    for answer in (client.get(PAGE, headers={"Host": host}), client.post("/classify", headers={"Host": host})):
        assert answer.status_code == status


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:9999", "null", "https://localhost.evil", "http://["]
)
def test_another_sites_page_cannot_post(client, origin):
    headers = {"Host": "127.0.0.1:8700", "Origin": origin}
    answer = client.post("/classify", data=encoded(), headers=headers)
    assert answer.status_code == 403 and answer.get_json() == {"error": serving.FOREIGN}
    own = {**headers, "Origin": "http://127.0.0.1:8700"}
    assert client.post("/classify", data=encoded(), headers=own).status_code == 200


def test_a_failure_of_the_server_says_nothing_of_its_files(viewer, caplog):
    reporter = Recorded()

    def fails(encoded):
        raise DataError("/secret/index is damaged.") if encoded == b"known" else RuntimeError("/secret/model")

    client = application(Stub(viewer, fails), reporter=reporter).test_client()
    for body in (b"known", b"unknown"):
        answer = client.post("/explain", data=body)
        assert answer.status_code == 500 and answer.get_json() == {"error": serving.FAILED}
    assert reporter.warnings == ["/secret/index is damaged."]
    assert "/secret/model" in caplog.text, "which the terminal shows"


def test_paths_do_not_reach_outside(client):
    for path in ("/../../etc/passwd", "/page.html.jinja", "/static/page.js", "/server.py"):
        answer = client.get(path)
        assert answer.status_code == 404 and answer.get_json() == {"error": "Not Found."}
    assert client.get("/classify").get_json() == {"error": "Method Not Allowed."}


def test_images_are_computed_one_at_a_time_and_few_wait(viewer):
    begun, go, at_once = threading.Event(), threading.Event(), []
    now = 0

    def waits(encoded):
        nonlocal now
        now += 1
        at_once.append(now)
        begun.set()
        go.wait(60)
        now -= 1
        return {"predictions": []}

    app = application(Stub(viewer, waits))
    with ThreadPoolExecutor(PLACES) as pool:
        waiting = [pool.submit(app.test_client().post, "/classify") for _ in range(PLACES)]
        try:
            assert begun.wait(60)
            deadline = time.monotonic() + 60
            while (answer := app.test_client().post("/classify", data=b"")).status_code != 503:
                assert time.monotonic() < deadline
        finally:
            go.set()
        assert answer.get_json() == {"error": serving.BUSY}
        assert all(one.result().status_code == 200 for one in waiting)
    assert set(at_once) == {1}


def test_a_file_that_is_too_large_is_refused_before_it_is_read(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        head = f"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MOST_BYTES + 1}\r\n\r\n"
        connection.sendall(head.encode())  # and nothing of the file
        answer = connection.recv(10_000).decode()
    assert answer.startswith("HTTP/1.1 413 ") and "/" not in answer.partition("\r\n\r\n")[2]
    status, text = post(served, bytes(MOST_BYTES))
    assert status == 200 and "not a picture" in text


def test_the_application_refuses_a_file_that_is_too_large_under_any_server(viewer):
    app = application(Stub(viewer, lambda encoded: {"bytes": len(encoded)}))
    assert app.test_client().post("/classify", data=bytes(MOST_BYTES)).get_json() == {"bytes": MOST_BYTES}
    answer = app.test_client().post("/classify", data=bytes(MOST_BYTES + 1))
    assert answer.status_code == 413 and answer.get_json() == {"error": "Request Entity Too Large."}


def test_neither_images_nor_answers_are_written_to_a_file(viewer, monkeypatch):
    opened, new_file = [], buffers.TempfileBasedBuffer.newfile
    monkeypatch.setattr(buffers.TempfileBasedBuffer, "newfile", lambda self: opened.append(self) or new_file(self))
    with listen("127.0.0.1", 0) as address:
        server = Server(application(Stub(viewer, lambda encoded: {"text": "x" * len(encoded)})), address)
        threading.Thread(target=server.run, daemon=True).start()
        status, text = post(server, bytes(8 * 2**20))
        server.close()
    assert status == 200 and len(text) > 8 * 2**20 and not opened


def test_a_client_that_disconnects_leaves_the_server_answering(served):
    for sent in (0, 1000):
        with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
            head = b"POST /explain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000\r\n\r\n"
            connection.sendall(head + bytes(sent))
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as connection:
        image = encoded()
        head = f"POST /explain HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(image)}\r\n\r\n"
        connection.sendall(head.encode() + image)  # gone before the answer
    status, text = post(served, encoded())
    assert status == 200 and "predictions" in text


def test_ten_images_at_once_are_all_answered_or_told_to_wait(served):
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: post(served, encoded()), range(10)))
    assert {status for status, _ in answers} <= {200, 503}
    assert sum(status == 200 for status, _ in answers) >= PLACES
    assert all(serving.BUSY in text for status, text in answers if status == 503)


def test_a_port_in_use_and_an_address_that_is_not_here():
    with listen("127.0.0.1", 0) as taken, pytest.raises(UsageError, match=r"already in use.*--port 0"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(UsageError, match="There is no host 'no host'"):
        listen("no host", 0)
    with pytest.raises(UsageError, match=r"203\.0\.113\.9 is no address of this machine: name one that is with --host"):
        listen("203.0.113.9", 0)


@pytest.mark.parametrize(
    ("header", "name"),
    [("localhost", "localhost"), ("127.0.0.1:8700", "127.0.0.1"), ("[::1]:8700", "::1"), ("[::1", ""), ("", "")],
)
def test_the_name_in_a_host_header(header, name):
    assert host_name(header) == name
