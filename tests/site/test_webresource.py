"""site.webresource: twisted.web resources as parts of the site, and what they can't break."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.resource import IResource, Resource
from twisted.web.static import Data, File
from twisted.web.util import Redirect

from proxyapp.net.reactor import ApplianceReactor
from proxyapp.site import webresource
from proxyapp.site.webresource import MAX_CONTENT, WebResource, load_resource
from tests.conftest import LoggedErrors
from tests.site.sitestage import SiteStage, blocking, request, site_stage
from tests.talk import Response

BIG = os.urandom(3_000_000)
HUGE = BIG * 8  # more than the kernel's buffers take
Render = Callable[[server.Request], object]


class Page(Resource):
    """Does what the test says."""

    isLeaf = True

    def __init__(self, act: Render) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # no types there
        self._act = act

    def render(self, request: server.Request) -> object:  # type: ignore[override]  # wrong ones too
        """See IResource."""
        return self._act(request)


def content_of(request: server.Request) -> bytes:
    """Return the body that came with *request*."""
    assert request.content is not None
    content: bytes = request.content.read()
    return content


Mount = Callable[[IResource], SiteStage]


@pytest.fixture
def mount(reactor: ApplianceReactor) -> Iterator[Mount]:
    """Return what serves a resource at /deep/m."""
    running = []

    def start(resource: IResource) -> SiteStage:
        running.append(
            site_stage(reactor, lambda stage: WebResource(resource, b"/deep/m", stage.sweep))
        )
        return running[-1].__enter__()

    yield start
    for each in running:
        each.__exit__(None, None, None)


def get(stage: SiteStage, path: bytes = b"/deep/m/", *lines: bytes) -> Response:
    """Ask for *path*."""
    return stage.send(request(b"GET", path, *lines))


# What resources can't break.


@blocking
def test_failing_resource(mount: Mount, logged_errors: LoggedErrors) -> None:
    """An exception is a 500 without a word of it, and the event log has it."""

    def fail(request: server.Request) -> object:
        raise ValueError("a secret")

    answer = get(mount(Page(fail)))
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    assert len(logged_errors.flush(ValueError)) == 1


@blocking
@pytest.mark.parametrize("announced", [3, 9])
def test_wrong_length(mount: Mount, announced: int) -> None:
    """A body that isn't as long as announced ends the connection; it never runs into the next."""

    def lie(request: server.Request) -> object:
        request.setHeader(b"Content-Length", b"%d" % announced)
        request.write(b"abc")
        request.write(b"def")
        request.finish()
        return server.NOT_DONE_YET

    stage = mount(Page(lie))
    with stage.connect() as talk:
        talk.send(request(b"GET", b"/deep/m/"), request(b"GET", b"/deep/m/"))
        try:
            received = talk.rest()
        except ConnectionError:
            received = b""
    assert received.count(b"HTTP/1.1") <= 1
    stage.until(lambda: bool(stage.records))
    assert "than it announced" in stage.records[0].reason


@blocking
def test_fields(mount: Mount) -> None:
    """Fields of the connection are ours, and no field becomes two."""

    def split(request: server.Request) -> object:
        for name, value in (
            (b"Connection", b"X-Mine, close"),
            (b"Keep-Alive", b"timeout=1"),
            (b"Transfer-Encoding", b"gzip"),
            (b"Upgrade", b"h2c"),
            (b"X-Mine", b"1"),
            (b"X-Kept", b"a"),
            (b"X-Kept", b"b"),
            (b"X-Split", b"a\r\nX-Injected: b"),
            (b"Content-Length", b"9"),
            (b"Content-Length", b"3"),
        ):
            request.responseHeaders.addRawHeader(name, value)
        request.write(b"abc")
        request.finish()
        return server.NOT_DONE_YET

    answer = get(mount(Page(split)))
    names = {name.lower() for name, _ in answer.head.fields}
    assert not names & {
        b"keep-alive",
        b"upgrade",
        b"x-mine",
        b"server",
        b"x-injected",
        b"connection",
    }
    assert answer.head.all(b"x-kept") == [b"a", b"b"]
    assert answer.head.one(b"transfer-encoding") == b"chunked"
    assert answer.body == b"abc"
    assert len(answer.head.all(b"date")) == 1


@blocking
@pytest.mark.parametrize("code", [101, 100, 99, 600])
def test_odd_status(mount: Mount, code: int) -> None:
    """No resource takes the connection over."""

    def answer(request: server.Request) -> object:
        request.setResponseCode(code)
        return b"x"

    assert get(mount(Page(answer))).status == 500


@blocking
@pytest.mark.parametrize(
    "act",
    [
        lambda request: request.loseConnection() or server.NOT_DONE_YET,
        lambda request: request.transport.abortConnection() or server.NOT_DONE_YET,
    ],
)
def test_hangs_up(mount: Mount, act: Render) -> None:
    """A resource that wants to get rid of its client only ends its own answer."""
    assert get(mount(Page(act))).status == 500


@blocking
def test_content_bound(mount: Mount) -> None:
    """A body that doesn't fit into memory is refused, announced or not."""
    stage = mount(Page(lambda request: b"%d" % len(content_of(request))))
    whole = request(b"POST", b"/deep/m/", body=b"x" * MAX_CONTENT)
    assert stage.send(whole).body == b"%d" % MAX_CONTENT
    announced = request(b"POST", b"/deep/m/", b"Content-Length: %d" % (MAX_CONTENT + 1))
    assert stage.send(announced).status == 413
    chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (MAX_CONTENT + 1, b"x" * (MAX_CONTENT + 1))
    chunked = request(b"POST", b"/deep/m/", b"Transfer-Encoding: chunked") + chunk
    assert stage.send(chunked).status == 413


@blocking
def test_broken_form(mount: Mount) -> None:
    """A form that can't be read is the client's fault."""
    stage = mount(Page(lambda request: b"no"))
    kind = b"Content-Type: multipart/form-data; boundary=x"
    body = b"--x\r\nContent-Disposition: form-data; name=a\r\n"
    answer = stage.send(request(b"POST", b"/deep/m/", kind, body=body))
    assert answer.status in (200, 400)  # as twisted.web sees it; but an answer
    kind = b"Content-Type: multipart/form-data"
    assert stage.send(request(b"POST", b"/deep/m/", kind, body=body)).status in (200, 400)


# What they can do.


@blocking
def test_tree(mount: Mount) -> None:
    """A tree of resources finds its children below the mount, and knows where it stands."""

    def where(request: server.Request) -> object:
        before, behind = request.prepath or [], request.postpath or []
        path = b"/".join([*before, b"|", *behind])
        return path + b" " + request.prePathURL() + b" " + request.args.get(b"q", [b"-"])[0]

    top = Resource()
    top.putChild(b"child", Page(where))
    top.putChild(b"away", Redirect(b"/elsewhere"))
    stage = mount(top)
    url = b"http://127.0.0.1:%d/deep/m/child" % stage.port
    assert get(stage, b"/deep/m/child/a%2Fb/c?q=1").body == b"deep/m/child/|/a/b/c " + url + b" 1"
    assert get(stage, b"/deep/m/none").status == 404
    assert get(stage, b"/deep/m/away").head.one(b"location") == b"/elsewhere"
    assert get(stage, b"/deep/other/child").status == 404


@blocking
def test_page_at_the_mount(mount: Mount) -> None:
    """A resource that is no leaf is found at the mount's own path; a child for it goes first."""
    page = Data(b"page", "text/plain")
    stage = mount(page)
    assert get(stage).body == b"page"
    page.putChild(b"", Data(b"child", "text/plain"))
    assert get(stage).body == b"child"


@blocking
def test_request_as_asked(mount: Mount) -> None:
    """The resource sees method, fields, cookies, form and both addresses."""

    def tell(request: server.Request) -> object:
        peer, host = request.getClientAddress(), request.getHost()
        assert (peer.host, host.host) == ("127.0.0.1", "127.0.0.1")
        assert host.port == stage.port
        assert not request.isSecure()
        assert request.getUser() == b"admin"
        assert request.getAllHeaders()[b"x-a"] == b"1"
        return b" ".join([request.method, request.args[b"f"][0], request.getCookie(b"c") or b"-"])

    stage = mount(Page(tell))
    lines = (b"X-A: 1", b"Cookie: c=d", b"Content-Type: application/x-www-form-urlencoded")
    assert stage.ask(b"POST", b"/deep/m/", *lines, body=b"f=g+h").body == b"POST g h d"


def test_addresses() -> None:
    """Addresses of both families are known as such."""
    make = webresource._address
    assert make("::1", 1) == IPv6Address("TCP", "::1", 1)
    assert make("127.0.0.1", 1) == IPv4Address("TCP", "127.0.0.1", 1)


@blocking
def test_head(mount: Mount) -> None:
    """HEAD has the fields of GET and no body, and the connection goes on."""
    stage = mount(Data(b"content", "text/x-test"))
    with stage.connect() as talk:
        talk.send(request(b"HEAD", b"/deep/m/"), request(b"GET", b"/deep/m/"))
        head = talk.response(b"HEAD").head
        assert (head.one(b"content-length"), head.one(b"content-type")) == (b"7", b"text/x-test")
        assert talk.response().body == b"content"
    assert [record.content_type for record in stage.records] == [b"text/x-test"] * 2


@blocking
@pytest.mark.parametrize("code", [204, 304])
def test_no_body(mount: Mount, code: int) -> None:
    """Answers without a body have none, and no length."""

    def answer(request: server.Request) -> object:
        request.setResponseCode(code)
        return b""

    stage = mount(Page(answer))
    with stage.connect() as talk:
        for _ in range(2):
            talk.send(request(b"GET", b"/deep/m/"))
            assert talk.response().status == code


@blocking
def test_http_10(mount: Mount) -> None:
    """A client of HTTP/1.0 gets a body without chunks, until the end."""

    def stream(request: server.Request) -> object:
        request.write(b"abc")
        request.finish()
        return server.NOT_DONE_YET

    stage = mount(Page(stream))
    with stage.connect() as talk:
        talk.send(b"GET /deep/m/ HTTP/1.0\r\n\r\n")
        assert talk.rest().endswith(b"\r\n\r\nabc")


@blocking
def test_later(mount: Mount, reactor: ApplianceReactor) -> None:
    """A resource may answer when it likes, bit by bit, for longer than a client may stall."""

    def begin(request: server.Request) -> object:
        request.write(b"begun")
        reactor.callLater(2.6, request.write, b" and ")
        reactor.callLater(2.7, request.write, b"done")
        reactor.callLater(2.7, request.finish)
        return server.NOT_DONE_YET

    stage = mount(Page(begin))
    with stage.connect() as talk:
        talk.send(request(b"GET", b"/deep/m/"))
        assert b"chunked" in talk.head().raw
        assert talk.until(b"begun").endswith(b"begun")
        assert talk.until(b"0\r\n\r\n").endswith(b"done\r\n0\r\n\r\n")


@blocking
def test_client_leaves(mount: Mount) -> None:
    """notifyFinish tells that the client has left, or that all went well."""
    told: list[object] = []
    begun: list[server.Request] = []

    def wait(request: server.Request) -> object:
        request.notifyFinish().addCallbacks(told.append, lambda why: told.append(why.type.__name__))
        if request.args:
            return b"done"
        begun.append(request)
        return server.NOT_DONE_YET

    stage = mount(Page(wait))
    get(stage, b"/deep/m/?at=once")
    with stage.connect() as talk:
        talk.send(request(b"GET", b"/deep/m/"))
        stage.until(lambda: bool(begun))
        talk.reset()
    stage.until(lambda: len(told) == 2)
    assert told == [None, "ConnectionLost"]
    stage.until(lambda: len(stage.records) == 2)
    assert [record.status for record in stage.records] == [200, 499]


@blocking
@pytest.mark.parametrize("is_streaming", [True, False])
def test_producers(mount: Mount, is_streaming: bool) -> None:
    """Producers of both kinds are paced by the client and lose nothing."""
    producers: list[Pieces] = []

    def produce(request: server.Request) -> object:
        producers.append(Pieces(request, is_streaming))
        request.registerProducer(producers[-1], is_streaming)
        if is_streaming:
            producers[-1].resumeProducing()
        return server.NOT_DONE_YET

    stage = mount(Page(produce))
    with socket.socket() as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        end.connect(("127.0.0.1", stage.port))
        end.sendall(b"GET /deep/m/ HTTP/1.0\r\n\r\n")
        end.settimeout(10)
        pieces = []
        while data := end.recv(1 << 16):
            pieces.append(data)
    assert b"".join(pieces).endswith(HUGE)
    assert producers[0].most_at_once < len(HUGE) // 2


class Pieces:
    """Produces HUGE; *most_at_once* is what it wrote in one go before it was asked to stop."""

    def __init__(self, request: server.Request, is_streaming: bool) -> None:
        self._request = request
        self._is_streaming = is_streaming
        self._offset = 0
        self._is_paused = False
        self.most_at_once = 0

    def resumeProducing(self) -> None:
        """See IPullProducer and IPushProducer."""
        self._is_paused = False
        begin = self._offset
        while self._offset < len(HUGE) and not self._is_paused:
            piece = HUGE[self._offset : self._offset + 50_000]
            self._offset += len(piece)
            self._request.write(piece)
            if not self._is_streaming:
                break
        self.most_at_once = max(self.most_at_once, self._offset - begin)
        if self._offset == len(HUGE):
            self._offset += 1
            self._request.unregisterProducer()
            self._request.finish()

    def pauseProducing(self) -> None:
        """See IPushProducer."""
        self._is_paused = True

    def stopProducing(self) -> None:
        """See IPullProducer."""
        self._is_paused = True


@blocking
def test_files(mount: Mount, tmp_path: Path) -> None:
    """static.File, with its producers and ranges, works as ever."""
    (tmp_path / "big.bin").write_bytes(BIG)
    (tmp_path / "empty").write_bytes(b"")
    stage = mount(File(str(tmp_path)))
    assert get(stage, b"/deep/m/big.bin").body == BIG
    part = get(stage, b"/deep/m/big.bin", b"Range: bytes=10-19")
    assert (part.status, part.body) == (206, BIG[10:20])
    assert get(stage, b"/deep/m/empty").body == b""
    assert get(stage, b"/deep/m/../../etc/passwd").status == 404


@blocking
def test_reader_that_stalls(mount: Mount) -> None:
    """A client that takes nothing is let go, and the resource hears of it."""
    told: list[Failure] = []

    def flood(request: server.Request) -> object:
        request.notifyFinish().addErrback(told.append)
        request.write(BIG * 4)
        return server.NOT_DONE_YET

    stage = mount(Page(flood))
    with stage.connect() as talk:
        talk.send(request(b"GET", b"/deep/m/"))
        stage.until(lambda: bool(told))
    stage.until(lambda: bool(stage.records))
    assert stage.records[0].error == "connection_write_timeout"


@blocking
def test_sessions(mount: Mount, reactor: ApplianceReactor) -> None:
    """A session is found again by its cookie, and lasts no longer than it was told to."""
    sessions: list[server.Session] = []

    def remember(request: server.Request) -> object:
        session = request.getSession()
        sessions.append(session)
        return session.uid

    stage = mount(Page(remember))
    first = get(stage)
    cookie = first.head.one(b"set-cookie").partition(b";")[0]
    assert cookie.startswith(b"TWISTED_SESSION_deep_m=")
    assert get(stage, b"/deep/m/", b"Cookie: " + cookie).body == first.body
    blockingCallFromThread(reactor, sessions[0].expire)
    second = get(stage, b"/deep/m/", b"Cookie: " + cookie)
    assert second.body != first.body
    blockingCallFromThread(reactor, sessions[-1].expire)


# Loading.


class Loadable(Resource):
    """Loads."""


class Explodes(Resource):
    """Doesn't."""

    def __init__(self) -> None:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("", "module:Class"),
        ("twisted.web.static", "module:Class"),
        ("twisted.web.static:", "module:Class"),
        (":File", "module:Class"),
        ("no.such.module:Class", "no.such.module can't be imported"),
        ("twisted.web.resource:NoSuch", "NoSuch"),
        ("twisted.web.static:File", "can't be made"),
        ("pathlib:Path", "isn't a twisted.web resource"),
        ("os:sep", "can't be made"),
        ("loading_test_module:Explodes", "can't be made"),
    ],
)
def test_not_loaded(description: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be loaded says so to the admin in one sentence."""
    monkeypatch.setitem(sys.modules, "loading_test_module", sys.modules[__name__])
    with pytest.raises(ValueError, match=words):
        load_resource(description)


def test_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that makes a resource is called without arguments."""
    monkeypatch.setitem(sys.modules, "loading_test_module", sys.modules[__name__])
    assert isinstance(load_resource("loading_test_module:Loadable"), Loadable)
