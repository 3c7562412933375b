"""Downloads: whole or continued, verified, bounded, and every failure a sentence after which nothing is lost."""

import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from file_servers import serving
from recorded import Recorded, Work

from alexnet_keras.errors import AlexNetError, DataError
from alexnet_keras.storage import downloads
from alexnet_keras.storage.downloads import Download, download

LENGTH = 3_000_000
CONTENT = np.random.default_rng(0).bytes(LENGTH)
REMEDY = "Fetch it yourself."


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Without waiting between connections, and without a proxy."""
    monkeypatch.setattr(downloads, "WAITS_S", (0.0, 0.0, 0.0))
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server():
    with serving(CONTENT) as server:
        yield server


@pytest.fixture
def file(server, tmp_path):
    return file_of(server, tmp_path)


def file_of(server, folder, length=LENGTH, most=LENGTH):
    def problem_of(path):
        return None if path.read_bytes() == CONTENT else "it is another"

    return Download(
        f"{server.address}/a.pth", folder / "cache" / "a.pth", problem_of, length, most, "Fetch it yourself."
    )


def names_in(file):
    return {path.name for path in file.path.parent.iterdir() if not path.name.startswith(".")}


def half_done(file, server, size=1_000_000):
    """Has the server hang up, again and again, after so many bytes."""
    server.drops = [size, 0, 0, 0]
    with pytest.raises(AlexNetError, match=r"breaks again and again .*a.pth.part is kept, and running this again"):
        download(file)
    server.asked.clear()


def test_a_file_appears_whole_and_alone(file, server):
    reporter = Recorded()
    download(file, reporter)
    assert file.path.read_bytes() == CONTENT and names_in(file) == {"a.pth"}
    assert reporter.work == [Work("downloading", 3, "MB", done=3)] and server.sent == LENGTH
    download(file)
    assert server.asked == [None], "it is there"


@pytest.mark.parametrize("length", [None, 0])
def test_a_broken_connection_is_taken_up_where_it_broke(length, file, server):
    server.drops, server.length = [1_234_567, 0], length
    reporter = Recorded()
    download(file, reporter)
    assert file.path.read_bytes() == CONTENT and server.sent == LENGTH
    assert server.asked == [None, "bytes=1234567-", "bytes=1234567-"]
    assert reporter.work[-1] == Work("downloading", 3, "MB", before=1, done=3)


def test_a_connection_may_break_often_while_more_comes(file, server, monkeypatch):
    monkeypatch.setattr(downloads, "CHUNK", 1000)
    server.drops = [400_000] * 7
    download(file)
    assert file.path.read_bytes() == CONTENT and len(server.asked) == 8


def test_a_server_that_falls_silent_is_left_and_asked_for_the_rest(file, server, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.2)
    server.drops, server.stalls = [], 1.0
    with pytest.raises(AlexNetError, match=r"breaks again and again .*timed out"):
        download(file)
    assert len(server.asked) == 4 and file.part.stat().st_size > LENGTH // 2


def test_what_an_earlier_command_received_is_not_fetched_again(file, server):
    half_done(file, server)
    assert names_in(file) == {"a.pth.part", "a.pth.part.json"}
    download(file)
    assert server.asked == ["bytes=1000000-"] and server.sent == LENGTH
    assert file.path.read_bytes() == CONTENT and names_in(file) == {"a.pth"}


def test_a_server_without_ranges_sends_the_whole_again(file, server):
    half_done(file, server)
    server.ranges = False
    download(file)
    assert file.path.read_bytes() == CONTENT and server.sent == 1_000_000 + LENGTH


@pytest.mark.parametrize("tag", ['"two"', ""])
def test_the_rest_of_a_file_that_changed_is_not_appended(tag, tmp_path):
    """By its ETag; without one by its length."""
    with serving(CONTENT[::-1] if tag else CONTENT[1:] + b"more") as server:
        server.tag = '"one"' if tag else None
        file = file_of(server, tmp_path, length=None, most=2 * LENGTH)
        half_done(file, server)
        server.content, server.tag = CONTENT, tag
        download(file)
    assert file.path.read_bytes() == CONTENT


def test_more_than_the_server_has_is_thrown_away(file, server):
    half_done(file, server)
    file.part.write_bytes(CONTENT + b"more")
    download(file)
    assert file.path.read_bytes() == CONTENT and server.asked[-1] is None


def test_a_part_of_which_nothing_is_known_is_fetched_again(file, server):
    half_done(file, server)
    file.about_part.write_text("{}")
    download(file)
    assert server.asked == [None] and file.path.read_bytes() == CONTENT


def test_another_file_of_the_same_length_is_removed_and_what_was_there_stays(file, server):
    file.path.parent.mkdir()
    file.path.write_bytes(b"damaged")
    server.content = CONTENT[::-1]
    with pytest.raises(DataError, match=r"sent another file than the published one: it is another. Fetch it yourself."):
        download(file)
    assert names_in(file) == {"a.pth"} and file.path.read_bytes() == b"damaged"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<!doctype html><title>Sign in</title>", r"with a web page \(HTML\), not the file behind it. Fetch"),
        (b"<Error><Code>AccessDenied</Code></Error>", r"with a server's answer in XML \('AccessDenied'\), not weights"),
        (b'{"error": "quota"}', r"with JSON \('quota'\), not weights. Fetch"),
    ],
)
def test_a_page_in_place_of_the_file_is_said_to_be_one_and_the_half_stays(content, told, file, server):
    half_done(file, server)
    server.content, server.tag, server.kind = content, '"page"', "text/html"
    with pytest.raises(DataError, match=f"was answered, perhaps by a proxy, {told}"):
        download(file)
    assert file.part.read_bytes() == CONTENT[:1_000_000]


def test_a_file_of_another_length_is_refused_before_it_is_fetched(file, server):
    server.content = CONTENT + CONTENT
    with pytest.raises(DataError, match="has 6,000,000 bytes, unlike the published file"):
        download(file)
    assert names_in(file) == set()


def test_a_server_that_says_no_length_is_not_read_without_end(tmp_path, server):
    server.content, server.length = CONTENT * 10, 0
    file = file_of(server, tmp_path, length=None)
    reporter = Recorded()
    with pytest.raises(DataError, match="sent another file"):
        download(file, reporter)
    (work,) = reporter.work
    assert work.total is None and work.done <= 3 and names_in(file) == set()


@pytest.mark.parametrize(("status", "told"), [(404, "404 Not Found"), (503, "503 Service Unavailable")])
def test_a_refusal_is_said_with_the_address_and_what_to_do(status, told, file, server):
    server.status = status
    with pytest.raises(
        AlexNetError, match=rf"/a.pth cannot be downloaded: the server answers {told}. Fetch it"
    ) as error:
        download(file)
    assert error.value.exit_code == 1 and len(server.asked) == 1


def test_where_nobody_answers_that_is_said_at_once(file, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/a.pth"
    nobody = Download(address, tmp_path / "b", lambda path: None, None, 9, REMEDY)
    with pytest.raises(AlexNetError, match=rf"{address} cannot be downloaded: Connection refused. Fetch it yourself."):
        download(nobody)
    assert not (tmp_path / "b").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device without space")
def test_a_full_disk_is_said(file):
    file.path.parent.mkdir()
    file.part.symlink_to("/dev/full")
    with pytest.raises(AlexNetError, match=r"There is no space in .*cache for a.pth: free some and run this again"):
        download(file)
    assert not file.path.exists()


def test_a_directory_that_cannot_be_written_is_said(file, server):
    file.path.parent.write_text("a file")
    with pytest.raises(AlexNetError, match=r"cache cannot be written \(File exists\). Fetch it yourself."):
        download(file)
    assert server.asked == []


def test_two_at_once_fetch_it_once(file, server):
    server.stalls = 0.2
    reporter = Recorded()
    both = [threading.Thread(target=download, args=(file, reporter)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert file.path.read_bytes() == CONTENT and server.sent == LENGTH
    assert reporter.notes == ["Waiting for another process, which downloads a.pth."]


def test_the_proxy_of_the_environment_is_asked(tmp_path, server, monkeypatch):
    monkeypatch.setenv("no_proxy", "weights.example")
    monkeypatch.setenv("http_proxy", server.address)
    file = file_of(server, tmp_path)
    download(Download("http://weights.invalid/a.pth", file.path, file.problem_of, file.length, file.most, file.remedy))
    assert file.path.read_bytes() == CONTENT and server.paths == ["http://weights.invalid/a.pth"]
