"""site.mounts: which part of the site a path belongs to, however it is spelled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from proxyapp.exchange import Reply, Request
from proxyapp.site.mounts import SitePaths
from proxyapp.wire.messages import OutgoingResponse
from tests.site.conftest import Visit
from tests.support import RecordedReply, Witness, connect, request_of


class Named:
    """Answers with its name and the path that it was given."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    async def respond(self, request: Request, reply: Reply) -> None:
        """See Responder."""
        reply.record.service = "site"
        reply.answer(OutgoingResponse(200, b"OK", []), self._name + b" " + request.target.path)


PATHS = SitePaths(
    {b"/wpad.dat": Named(b"pac"), b"/log/exact": Named(b"exact")},
    [
        (b"/log", Named(b"log")),
        (b"/a/b", Named(b"ab")),
        (b"/a", Named(b"a")),
        (b"/with%20blank", Named(b"blank")),
    ],
    Named(b"root"),
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        # What isn't below a mount, though it looks like it.
        (b"/logs/", b"root"),
        (b"/lo", b"root"),
        (b"/Log/", b"root"),
        (b"//log/", b"root"),
        (b"/./log/", b"root"),
        (b"/x/../log/", b"root"),
        (b"/%2flog/", b"root"),
        (b"/a%2fb/", b"root"),
        (b"/log%2f", b"root"),
        (b"/log%00/", b"root"),
        (b"/%256cog/", b"root"),
        (b"/log?/", b"redirect"),
        (b"/wpad.dat/", b"root"),
        (b"/x/wpad.dat", b"root"),
        (b"/wpad.dat%3f", b"root"),
        (b"/", b"root"),
        (b"/index.html", b"root"),
        # What is, however it is spelled.
        (b"/log/", b"log"),
        (b"/%6c%6Fg/", b"log"),
        (b"/log/../wpad.dat", b"log"),
        (b"/log//", b"log"),
        (b"/log/%2e%2e/", b"log"),
        (b"/a/", b"a"),
        (b"/a/bc", b"a"),
        (b"/a/b/", b"ab"),
        (b"/a/b/c?q=/log/", b"ab"),
        (b"/a/%62/c", b"ab"),
        (b"/with%20blank/x", b"blank"),
        (b"/with%20bl%61nk/x", b"blank"),
        (b"/wpad.dat", b"pac"),
        (b"/wpad.dat?x=/log/", b"pac"),
        (b"/wpad%2edat", b"pac"),
        (b"/log/exact", b"exact"),
        (b"/log/exact/", b"log"),
    ],
)
def test_who_answers(visit: Visit, path: bytes, name: bytes) -> None:
    """Segments are compared whole and decoded once; who answers gets the path as it came."""
    head, body = visit(PATHS, path)
    if name == b"redirect":
        assert head.status == 301
    else:
        assert body == name + b" " + path


@pytest.mark.parametrize(
    ("method", "path", "status", "url"),
    [
        (b"GET", b"/log", 301, b"/log/"),
        (b"HEAD", b"/log", 301, b"/log/"),
        (b"PUT", b"/log", 308, b"/log/"),
        (b"POST", b"/log?a=b", 308, b"/log/?a=b"),
        (b"GET", b"/l%6fg?", 301, b"/log/?"),
        (b"GET", b"/a/b", 301, b"/a/b/"),
        (b"GET", b"/with%20blank", 301, b"/with%20blank/"),
    ],
)
def test_redirect(visit: Visit, method: bytes, path: bytes, status: int, url: bytes) -> None:
    """The mount itself has a slash at its end; a body isn't lost on the way there."""
    head, _ = visit(PATHS, path, method=method)
    assert (head.status, dict(head.fields)[b"Location"]) == (status, url)


SEGMENTS = st.lists(st.sampled_from([b"a", b"b", b"log", b"%61", b"..", b"%2f", b"x"]), max_size=5)


@given(SEGMENTS)
def test_longest_mount_wins(segments: list[bytes]) -> None:
    """It is always the mount with most segments in front of the path, and never another."""
    plain = [segment.replace(b"%61", b"a") for segment in segments]
    expected = b"root"
    for mount in ([b"log"], [b"a"], [b"a", b"b"]):
        if plain[: len(mount)] == mount:
            expected = b"".join(mount)
    path = b"/".join([b"", *segments, b""])
    reply = RecordedReply(connect(Clock(), Witness()))
    with pytest.raises(StopIteration):
        PATHS.respond(request_of(target=b"http://a.example" + path), reply).send(None)
    assert reply.body == expected + b" " + path


def test_no_mounts(visit: Visit) -> None:
    """A site without mounts is its root."""
    assert visit(SitePaths({}, [], Named(b"root")), b"/a/b")[1] == b"root /a/b"
    assert repr(PATHS) == "<SitePaths 2 exact, mounts /a/b, /log, /a, /with%20blank>"
