"""Conversations through the cache: what each client gets, and what the origin is asked.

Clients and origins are played here; what is between them is the product.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from proxyapp import errors
from proxyapp.rules.caching.policy import Policy
from proxyapp.rules.caching.rules import OnRange
from proxyapp.store.store import StoreLimits
from tests.cache.flowstage import (
    BLOCK,
    FRESH,
    HOST,
    TAG,
    CacheStage,
    chunk,
    flow,
    head,
    part,
    rule,
    whole,
)
from tests.store.stores import MIB
from tests.support import MemoryTransport, request

SIZE = len(BLOCK)
BIG = BLOCK * 200  # more than is waited for when a part of it is asked for
STALE = b"Cache-Control: max-age=1"
RESPONSE_10 = b"HTTP/1.0 200 OK\r\nCache-Control: max-age=1000\r\n\r\n"


def fill(stage: CacheStage, *answer: bytes) -> None:
    """Let a client ask, and the origin answer."""
    client = stage.ask()
    stage.says(*(answer or (whole(b"there", FRESH, TAG),)))
    stage.heard(client)
    stage.asked()


def speak_10(stage: CacheStage) -> MemoryTransport:
    """Let a client of HTTP/1.0 ask."""
    client = stage.client()
    client.says(b"GET http://a.example/ HTTP/1.0\r\nHost: a.example\r\n\r\n")
    stage.turn()
    return client


# --- Kinds of bodies ---


def test_chunks_with_trailers(tmp_path: Path) -> None:
    """A body in chunks is stored without its trailers, which nobody could check."""
    with flow(tmp_path) as stage:
        clients = [stage.ask(), stage.ask()]
        stage.says(head(None, FRESH), chunk(b"one"), chunk(b"two"), b"0\r\nX-Sum: 1\r\n\r\n")
        for client in clients:
            assert stage.heard(client).body == b"onetwo"
        assert stage.got().fields[b"content-length"] == b"6"


@pytest.mark.parametrize("status", [b"204 No Content", b"404 Not Found", b"301 Moved"])
def test_nothing_in_it(tmp_path: Path, status: bytes) -> None:
    """Answers without content are shared and stored like others."""
    answer = whole(b"", FRESH, status=status)
    if status.startswith(b"204"):
        answer = answer.replace(b"Content-Length: 0\r\n", b"")
    with flow(tmp_path) as stage:
        clients = [stage.ask(), stage.ask()]
        stage.says(answer)
        heard = [*map(stage.heard, clients), stage.got()]
        assert [(each.status, each.body) for each in heard] == [(int(status[:3]), b"")] * 3
        assert (b"content-length" in heard[2].fields) is not status.startswith(b"204")


@pytest.mark.parametrize("is_whole", [True, False])
def test_clients_of_http_1_0(tmp_path: Path, is_whole: bool) -> None:
    """They get chunks without their framing, and a cut connection if some are missing."""
    with flow(tmp_path) as stage:
        old, new = speak_10(stage), stage.ask()
        stage.says(head(None, FRESH), chunk(b"some"))
        if is_whole:
            stage.says(b"0\r\n\r\n")
        else:
            stage.origin.closes()
            stage.turn()
        assert old.all_heard().endswith(b"\r\n\r\nsome")
        assert old.reason == ("ConnectionDone" if is_whole else "ConnectionAborted")
        assert stage.heard(new).is_whole is is_whole


@pytest.mark.parametrize("is_clean", [True, False])
def test_origins_of_http_1_0(tmp_path: Path, is_clean: bool) -> None:
    """A body that ends with its connection is stored if that ended in an orderly way."""
    with flow(tmp_path) as stage:
        client = stage.ask()
        stage.says(RESPONSE_10 + b"body")
        stage.origin.closes() if is_clean else stage.origin.resets()
        assert stage.heard(client).is_whole is is_clean
        assert (stage.stored is not None) is is_clean


def test_a_body_is_read_to_its_end_only(tmp_path: Path) -> None:
    """The next request on a client's connection begins behind what is followed."""
    with flow(tmp_path) as stage:
        client = stage.client()
        client.says(request(b"GET", b"/") * 2)
        stage.turn()
        stage.says(head(2 * SIZE, FRESH), BLOCK)
        stage.says(BLOCK)
        heard = client.all_heard()
        assert heard.count(b"HTTP/1.1 200 OK") == 2
        assert heard.count(BLOCK) == 4
        assert len(stage.origins) == 1


# --- Ranges of what grows ---


def test_a_part_of_what_grows(tmp_path: Path) -> None:
    """A part is followed too, from where it begins to where it ends."""
    with flow(tmp_path) as stage:
        leader = stage.ask()
        stage.says(head(3 * SIZE, FRESH, TAG), BLOCK)
        client = stage.ask(b"Range: bytes=65530-65545")
        assert not client.all_heard().endswith(BLOCK[-6:] + BLOCK[:10])
        stage.says(BLOCK)
        stage.says(BLOCK)
        assert stage.heard(leader).body == BLOCK * 3
        assert stage.records[-2].status == 206
        assert stage.records[-2].sent == 16
        assert len(stage.origins) == 1


@pytest.mark.parametrize("line", [b"bytes=12000000-12000009", b"bytes=0-1,9000000-9000001"])
def test_too_far_ahead(tmp_path: Path, line: bytes) -> None:
    """What is far ahead, or in several places, is asked for beside."""
    with flow(tmp_path) as stage:
        leader = stage.ask()
        stage.says(head(len(BIG), FRESH, TAG), BLOCK)
        client = stage.ask(b"Range: " + line)
        assert b"Range: " + line in stage.asked()
        stage.says(whole(b"part", status=b"206 Part"))
        assert stage.heard(client).body == b"part"
        stage.origins[0].says(BIG[SIZE:])
        assert len(stage.heard(leader).body) == len(BIG)


ALL = {
    "far ahead": (b"bytes=12000000-12000009", 206, BIG[12000000:12000010]),
    "several places": (b"bytes=0-1,9000000-9000001", 200, BIG),
}


@pytest.mark.parametrize(("line", "status", "body"), ALL.values(), ids=ALL)
def test_an_origin_without_ranges(tmp_path: Path, line: bytes, status: int, body: bytes) -> None:
    """An origin that sends all, whatever it is asked, isn't asked twice."""
    with flow(tmp_path) as stage:
        client = stage.ask(b"Range: " + line)
        stage.says(head(len(BIG), FRESH, TAG), BLOCK)
        stage.says(BIG[SIZE:])
        heard = stage.heard(client)
        assert (heard.status, heard.body == body) == (status, True)
        assert len(stage.origins) == 1
        assert stage.got().cache == b"hit"


def test_beyond_the_end(tmp_path: Path) -> None:
    """A range that nothing has is 416, and the others go on."""
    with flow(tmp_path) as stage:
        leader = stage.ask()
        stage.says(head(2 * SIZE, FRESH, TAG), BLOCK)
        assert stage.got(b"Range: bytes=999999-").status == 416
        stage.says(BLOCK)
        assert stage.heard(leader).is_whole


def test_the_rest_has_a_head(tmp_path: Path) -> None:
    """Who gets what was completed gets the fields of the whole."""
    content, kind = BLOCK * 2, b"Content-Type: a/b"
    with flow(tmp_path) as stage:
        client = stage.ask(b"Range: bytes=0-65535")
        stage.says(part(content, 0, SIZE, FRESH, TAG, kind))
        assert stage.heard(client).body == BLOCK
        clients = [stage.ask(), stage.ask()]
        assert stage.asked()[-3:-1] == [b"Range: bytes=65536-", b'If-Range: "1"']
        stage.says(part(content, SIZE, 2 * SIZE, FRESH, TAG))
        for each in map(stage.heard, clients):
            assert (each.status, each.body) == (200, content)
            assert each.fields[b"content-type"] == b"a/b"
            assert each.fields[b"content-length"] == b"%d" % len(content)


def test_the_part_fills(tmp_path: Path) -> None:
    """A rule has the whole fetched for a part, and what can't be stored asked for as it was."""
    limits = StoreLimits(memory=64 * MIB, disk=0, max_object=MIB)
    with flow(tmp_path, limits, rule(OnRange.FILL)) as stage:
        client = stage.ask(b"Range: bytes=0-9")
        assert not any(line.startswith(b"Range") for line in stage.asked())
        stage.says(head(len(BIG), FRESH, TAG), BLOCK)
        assert b"Range: bytes=0-9" in stage.asked()
        stage.says(part(BIG, 0, 10, FRESH, TAG))
        assert stage.heard(client).body == BIG[:10]
        stage.ask(b"Range: bytes=10-19")
        assert b"Range: bytes=10-19" in stage.asked()
        assert len(stage.origins) == 2


# --- Fields ---


def test_fields_for_the_first_only(tmp_path: Path) -> None:
    """What the origin lists as not to be stored goes to the client that it was fetched for."""
    lines = (b'Cache-Control: max-age=99, no-cache="set-cookie"', b"Set-Cookie: a=b")
    for answer in (whole(b"x", *lines), head(2, *lines) + b"x"):
        with flow(tmp_path) as stage:
            clients = [stage.ask(), stage.ask()]
            stage.says(answer)
            if answer.startswith(head(2, *lines)):
                stage.says(b"y")
            heard = [*map(stage.heard, clients), stage.got()]
            cookies = [each.fields.get(b"set-cookie") for each in heard]
            assert cookies == [b"a=b", None, None]


@pytest.mark.parametrize("is_long", [False, True])
def test_age_is_said_once(tmp_path: Path, is_long: bool) -> None:
    """The age that something has when it comes counts for everybody, and is never there twice."""
    with flow(tmp_path) as stage:
        clients = [stage.ask(), stage.ask()]
        if is_long:
            stage.says(head(2, FRESH, b"Age: 100"), b"x")
            stage.says(b"y")
        else:
            stage.says(whole(b"xy", FRESH, b"Age: 100"))
        for client in clients:
            raw = client.all_heard()
            assert raw.count(b"Age:") == 1
            assert b"\r\nAge: 100\r\n" in raw
        stage.waits(10)
        assert stage.got().fields[b"age"] == b"110"


def test_what_is_passed_on_keeps_its_age(tmp_path: Path) -> None:
    """Of what isn't stored we don't know more than it says."""
    with flow(tmp_path) as stage:
        client = stage.ask()
        stage.says(whole(b"x", b"Age: 100"))
        assert stage.heard(client).fields[b"age"] == b"100"


# --- Changes ---


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE"])
@pytest.mark.parametrize("line", [b"Accept: */*", b'If-None-Match: "0"', b"Range: bytes=0-1"])
def test_a_change_under_way(tmp_path: Path, method: bytes, line: bytes) -> None:
    """What was asked for before a change is known isn't good afterwards, nor joined."""
    with flow(tmp_path) as stage:
        client = stage.ask(line)
        fetching = stage.origin
        change = stage.client()
        change.says(request(method, b"/", b"Content-Length: 1", body=b"x"))
        stage.turn()
        stage.says(whole(b"done"))
        stage.heard(change)
        late = stage.ask()
        fetching.says(whole(b"old", FRESH, TAG))
        assert stage.heard(client).status in (200, 206)
        stage.says(whole(b"new", FRESH, TAG))
        assert stage.heard(late).body == b"new"
        assert stage.stored is None or stage.stored.stored.is_invalid


def test_a_change_beside_what_is_for_one(tmp_path: Path) -> None:
    """Also what was believed to be for one client only may be old."""
    with flow(tmp_path) as stage:
        fill(stage, whole(b"x", b"Cache-Control: private"))
        client = stage.ask()
        change = stage.client()
        change.says(request(b"POST", b"/", b"Content-Length: 1", body=b"x"))
        stage.turn()
        stage.says(whole(b"done"))
        stage.origins[0].says(whole(b"old", FRESH, TAG))
        assert stage.heard(client).body == b"old"
        assert stage.stored is not None
        assert stage.stored.stored.is_invalid


def test_a_failed_change(tmp_path: Path) -> None:
    """A change that wasn't made changes nothing."""
    with flow(tmp_path) as stage:
        fill(stage)
        change = stage.client()
        change.says(request(b"POST", b"/", b"Content-Length: 1", body=b"x"))
        stage.says(whole(b"no", status=b"500 No"))
        assert stage.got().cache == b"hit"


# --- Wishes ---


@pytest.mark.parametrize("wish", [b"Cache-Control: no-cache", b"Pragma: no-cache"])
def test_a_reload(tmp_path: Path, wish: bytes) -> None:
    """Who doesn't trust what is there gets what the origin says now, and joins nobody."""
    with flow(tmp_path) as stage:
        fill(stage)
        client = stage.ask(wish)
        assert b'If-None-Match: "1"' in stage.asked()
        other = stage.ask(wish)
        assert len(stage.origins) == 2
        stage.origins[0].says(whole(b"new", FRESH, b'ETag: "2"'))
        assert stage.heard(client).body == b"new"
        stage.says(b'HTTP/1.1 304 Same\r\nETag: "1"\r\n\r\n')
        assert stage.heard(other).body == b"there"
        assert stage.got().body == b"new"


def test_the_ttl_of_a_rule(tmp_path: Path) -> None:
    """A rule's lifetime goes before the origin's."""
    with flow(tmp_path, by=rule(policy=Policy(ttl=100.0))) as stage:
        fill(stage, whole(b"x", b"Cache-Control: max-age=1"))
        stage.waits(50)
        assert stage.got().cache == b"hit"


# --- Why the origin is asked ---

AGAIN = whole(b"new", FRESH, b'ETag: "2"')
SAME = b'HTTP/1.1 304 Same\r\nETag: "1"\r\n\r\n'
NO_CACHE = b"Cache-Control: no-cache"
PRIVATE = b"Cache-Control: private"
# The method, the client's line, how old the stored one is, the answer; what is said of it.
ASKED: dict[str, tuple[bytes, bytes, int, bytes, bytes]] = {
    "a change": (b"POST", b"Content-Length: 0", 0, whole(b"x"), b"fwd=method"),
    "a condition": (b"GET", b"If-Match: *", 0, whole(b"x"), b"fwd=request"),
    "in private": (b"GET", b"Cache-Control: no-store", 0, whole(b"x"), b"fwd=request"),
    "a reload": (b"GET", NO_CACHE, 0, AGAIN, b"fwd=request; fwd-status=200; stored"),
    "a reload of the same": (b"GET", NO_CACHE, 0, SAME, b"fwd=request; fwd-status=304"),
    "stale": (b"GET", b"Accept: */*", 1000, AGAIN, b"fwd=stale; fwd-status=200; stored"),
    "stale, and long": (
        b"GET",
        b"Accept: */*",
        1000,
        head(None, FRESH) + chunk(BLOCK) + b"0\r\n\r\n",
        b"fwd=stale; fwd-status=200; stored",
    ),
    "stale, and right": (b"GET", b"Accept: */*", 1000, SAME, b"fwd=stale; fwd-status=304"),
    "stale, for one": (b"GET", b"Accept: */*", 1000, whole(b"x", PRIVATE), b"fwd=stale"),
    "stale, and its head": (b"HEAD", b"Accept: */*", 1000, head(5, FRESH, TAG), b"fwd=stale"),
}


@pytest.mark.parametrize("case", ASKED.values(), ids=ASKED)
def test_why_the_origin_is_asked(
    tmp_path: Path, case: tuple[bytes, bytes, int, bytes, bytes]
) -> None:
    """Cache-Status names the reason, and what came where that isn't what the client gets."""
    method, line, age, answer, said = case
    with flow(tmp_path) as stage:
        fill(stage)
        stage.waits(age)
        client = stage.ask(line, method=method)
        stage.says(answer)
        assert stage.heard(client, method).cache == said


def test_where_the_cache_is_off(tmp_path: Path) -> None:
    """A rule that has nothing stored is the reason, whatever the request is."""
    with flow(tmp_path, by=rule(policy=Policy(is_off=True))) as stage:
        for method in (b"GET", b"DELETE"):
            client = stage.ask(method=method)
            stage.says(whole(b"x", FRESH))
            assert stage.heard(client, method).cache == b"fwd=bypass"
            assert stage.records[-1].cache == ""


# --- Variants ---

GERMAN, FRENCH, DUTCH = (b"Accept-Language: " + each for each in (b"de", b"fr", b"nl"))
VARIED = (FRESH, b"Vary: Accept-Language")


@pytest.mark.parametrize("is_long", [False, True])
def test_another_variant_for_all(tmp_path: Path, is_long: bool) -> None:
    """Those who want another variant than the first one share a fetch of that."""
    with flow(tmp_path) as stage:
        lines = [GERMAN, FRENCH, FRENCH, DUTCH, GERMAN, FRENCH, DUTCH]
        clients = [stage.ask(line) for line in lines]
        assert len(stage.origins) == 1
        stage.says(head(2 * SIZE, *VARIED) + BLOCK if is_long else whole(b"de", *VARIED))
        if is_long:
            clients.append(stage.ask(FRENCH))
        assert len(stage.origins) == 3
        stage.origins[1].says(whole(b"fr", *VARIED))
        stage.origins[2].says(whole(b"nl", *VARIED))
        stage.origins[0].says(BLOCK if is_long else b"")
        german = BLOCK * 2 if is_long else b"de"
        heard = [stage.heard(client) for client in clients]
        wanted = [german, b"fr", b"fr", b"nl", german, b"fr", b"nl", b"fr"]
        assert [each.body for each in heard] == wanted[: len(heard)]
        collapsed = [at for at, each in enumerate(heard[:7]) if b"collapsed" in each.cache]
        assert collapsed == [2, 4, 5, 6]
        assert len(stage.store.variants(HOST + b"/")) == 3


def test_another_variant_is_for_one(tmp_path: Path) -> None:
    """What isn't to be shared of a variant has nothing to say of the others."""
    with flow(tmp_path) as stage:
        clients = [stage.ask(line) for line in (GERMAN, FRENCH, FRENCH)]
        stage.says(whole(b"de", *VARIED))
        assert stage.fetching() == 1
        stage.says(whole(b"1", PRIVATE))
        assert stage.fetching() == 1
        for origin in stage.origins:
            if "busy" in repr(origin.protocol):
                origin.says(whole(b"2", PRIVATE))
        assert [stage.heard(client).body for client in clients] == [b"de", b"1", b"2"]
        assert [stage.ask(DUTCH), stage.ask(DUTCH)]
        assert stage.fetching() == 1


# --- An origin in trouble ---


def trouble(stage: CacheStage, kind: str) -> None:
    """Let the origin be unable to answer what it is asked."""
    if kind == "503":
        stage.says(whole(b"busy", status=b"503 Busy"))
    elif kind == "cut":
        stage.origin.resets()
        stage.turn()


@pytest.mark.parametrize("kind", ["503", "cut", "refused"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_the_old_one_does(tmp_path: Path, kind: str, method: bytes) -> None:
    """What is stale answers if the origin can't; a HEAD's own 503 is an answer, though."""
    with flow(tmp_path) as stage:
        fill(stage, whole(b"old", STALE, TAG))
        stage.waits(10)
        if kind == "refused":
            stage.origin.closes()
            stage.turn()
            stage.dialler.refusals = [errors.LineDown("down")]
        client = stage.ask(method=method)
        trouble(stage, kind)
        heard = stage.heard(client, method)
        if kind == "503" and method == b"HEAD":
            assert heard.status == 503
            return
        assert (heard.status, heard.body) == (200, b"old" if method == b"GET" else b"")
        assert b"detail=" in heard.fields[b"cache-status"]
        assert stage.records[-1].cache == "stale"


@pytest.mark.parametrize("kind", ["503", "cut"])
def test_not_if_the_client_minds(tmp_path: Path, kind: str) -> None:
    """Who wants nothing stale hears of the trouble."""
    with flow(tmp_path) as stage:
        fill(stage, whole(b"old", STALE, TAG))
        stage.waits(10)
        client = stage.ask(b"Cache-Control: no-cache")
        trouble(stage, kind)
        assert stage.heard(client).status == (503 if kind == "503" else 502)


def test_a_new_version_breaks_off(tmp_path: Path) -> None:
    """After a new version broke off, the old one still serves while the line is down."""
    with flow(tmp_path) as stage:
        fill(stage, whole(b"old", STALE, TAG))
        stage.waits(10)
        client = stage.ask()
        stage.says(head(2 * SIZE, FRESH), BLOCK)
        stage.origin.closes()
        assert not stage.heard(client).is_whole
        stage.dialler.refusals = [errors.LineDown("down")]
        assert stage.got().body == b"old"


# --- In the background ---


def test_renewed_behind(tmp_path: Path) -> None:
    """What is being renewed anyway is served as it is, and the client isn't waited for."""
    lines = (b"Cache-Control: max-age=1, stale-while-revalidate=100", TAG)
    with flow(tmp_path) as stage:
        fill(stage, whole(BLOCK, *lines))
        stage.waits(10)
        slow = stage.client()
        slow.takes = False
        slow.says(request(b"GET", b"/"))
        stage.turn()
        assert b'If-None-Match: "1"' in stage.asked()
        stage.says(whole(b"new", FRESH))
        assert stage.got().body == b"new"
        slow.takes_all()
        assert stage.heard(slow).body == BLOCK


def test_head_renews_nothing(tmp_path: Path) -> None:
    """What HEAD is answered from isn't renewed by a HEAD."""
    with flow(tmp_path) as stage:
        fill(stage, whole(b"x", b"Cache-Control: max-age=1, stale-while-revalidate=100"))
        stage.waits(10)
        assert stage.got(method=b"HEAD").cache == b"hit"
        assert not stage.origin.all_heard()


# --- Clients that leave ---


@pytest.mark.parametrize("body", [b"small", BLOCK * 10], ids=["small", "big"])
def test_a_slow_client_is_given_up(tmp_path: Path, body: bytes) -> None:
    """Who takes nothing of a hit is gone after its time, and nothing is left of it."""
    with flow(tmp_path) as stage:
        fill(stage, whole(body, FRESH))
        client = stage.client()
        client.takes = False
        client.says(request(b"GET", b"/"))
        stage.turn()
        stage.waits(400)
        assert client.is_gone


def test_store_limits_dont_hurt(tmp_path: Path) -> None:
    """What grows past the limit reaches everybody who followed it, at any pace."""
    limits = StoreLimits(memory=8 * MIB, disk=0, max_object=10 * SIZE)
    with flow(tmp_path, limits) as stage:
        quick, slow = stage.ask(), stage.ask()
        slow.takes = False
        stage.says(head(None, FRESH))
        for _ in range(20):
            stage.says(chunk(BLOCK))
        slow.takes_all()
        stage.turn()
        stage.says(b"0\r\n\r\n")
        for client in (quick, slow):
            assert stage.heard(client).body == BLOCK * 20
        assert stage.stored is None
