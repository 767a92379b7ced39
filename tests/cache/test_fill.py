"""One fetch for all who wait: it begins once, goes on as long as it is of use, and tells everybody.

Clients and origins are played here; what is between them is the product.
"""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from proxyapp import errors
from proxyapp.cache.intake import Intake
from proxyapp.rules.caching.rules import OnRange
from proxyapp.server.reply import ClientReply
from proxyapp.store.store import StoreLimits
from proxyapp.stream import Sink
from proxyapp.wire.framing import Framing
from proxyapp.wire.messages import OutgoingResponse
from tests.cache.flowstage import (
    BLOCK,
    FRESH,
    TAG,
    chunk,
    flow,
    head,
    part,
    rule,
    whole,
)
from tests.conftest import LoggedErrors
from tests.store.stores import MIB

LONG = BLOCK * 100
SIZE = len(BLOCK)
PRIVATE = b"Cache-Control: private"
LAST_CHUNK = b"0\r\n\r\n"


# --- Who waits ---


def test_one_for_all(tmp_path: Path) -> None:
    """Whoever asks meanwhile waits for the same head, and follows the same body."""
    with flow(tmp_path) as stage:
        clients = [stage.ask() for _ in range(3)]
        stage.says(head(2 * SIZE, FRESH), BLOCK)
        clients.append(stage.ask())
        stage.says(BLOCK)
        heard = [stage.heard(client) for client in clients]
        assert [each.body for each in heard] == [BLOCK * 2] * 4
        said = [b"fwd=miss; stored"] + [b"fwd=miss; stored; collapsed"] * 3
        assert [each.cache for each in heard] == said
        assert len(stage.origins) == 1
        assert stage.got().cache == b"hit"


def test_everybody_for_himself(tmp_path: Path) -> None:
    """As soon as the head says that it isn't for others, they ask; next time nobody waits."""
    with flow(tmp_path) as stage:
        clients = [stage.ask() for _ in range(3)]
        stage.says(head(4, PRIVATE))
        assert len(stage.origins) == 3
        for number, origin in enumerate(stage.origins):
            origin.says(b"mine" if not number else whole(b"%d" % number, PRIVATE))
        assert [stage.heard(client).body for client in clients] == [b"mine", b"1", b"2"]
        again = [stage.ask(), stage.ask()]
        assert [stage.fetching(), len(again)] == [2, 2]


@pytest.mark.parametrize("later", [0, 130])
def test_memory_of_what_is_for_one(tmp_path: Path, later: int) -> None:
    """After a while it may be otherwise, and that something is for sharing is noticed at once."""
    with flow(tmp_path) as stage:
        first = stage.ask()
        stage.says(whole(b"x", PRIVATE))
        stage.heard(first)
        stage.waits(later)
        several = [stage.ask(), stage.ask()]
        assert stage.fetching() == (1 if later else 2)
        for origin in stage.origins:
            if "busy" in repr(origin.protocol):
                origin.says(whole(b"x", FRESH))
        assert [stage.heard(client).body for client in several] == [b"x"] * 2
        assert stage.got().cache == b"hit"


@pytest.mark.parametrize("answer", [part(BLOCK, 0, 10, FRESH), whole(b"", status=b"304 Same")])
def test_single_answers_say_nothing(tmp_path: Path, answer: bytes) -> None:
    """That a part or a 304 goes to one client doesn't mean that the whole would."""
    line = b"Range: bytes=0-9" if b" 206 " in answer else b'If-None-Match: "1"'
    with flow(tmp_path) as stage:
        client = stage.ask(line)
        stage.says(answer.replace(b"Content-Length: 0\r\n", b""))
        stage.heard(client)
        stage.ask()
        stage.ask()
        assert stage.fetching() == 1


# --- Who leaves ---


@pytest.mark.parametrize("moment", ["before the head", "behind the head"])
def test_the_leader_leaves(tmp_path: Path, moment: str) -> None:
    """The others have theirs all the same."""
    with flow(tmp_path) as stage:
        leader, follower = stage.ask(), stage.ask()
        if moment == "before the head":
            leader.resets()
            stage.turn()
        stage.says(head(2 * SIZE, FRESH), BLOCK)
        leader.resets()
        stage.says(BLOCK)
        assert stage.heard(follower).body == BLOCK * 2
        assert stage.stored is not None


def test_the_next_one_leads(tmp_path: Path) -> None:
    """What is for one client goes to the first of those who are still there."""
    with flow(tmp_path) as stage:
        leader, second, third = (stage.ask() for _ in range(3))
        leader.resets()
        stage.turn()
        stage.says(whole(b"yours", PRIVATE))
        assert stage.heard(second).body == b"yours"
        stage.says(whole(b"mine", PRIVATE))
        assert stage.heard(third).body == b"mine"


def test_interim_answers_of_a_leader_that_is_gone(tmp_path: Path) -> None:
    """They reach nobody, and do no harm."""
    with flow(tmp_path) as stage:
        leader, follower = stage.ask(), stage.ask()
        stage.says(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        assert leader.all_heard().startswith(b"HTTP/1.1 103 ")
        leader.resets()
        stage.says(b"HTTP/1.1 103 Early Hints\r\n\r\n", whole(b"x", FRESH))
        assert stage.heard(follower).body == b"x"


@pytest.mark.parametrize("sent", [0, 1, 60, 90])
def test_nobody_is_left(tmp_path: Path, sent: int) -> None:
    """A fetch that nobody wants any more ends, unless it is nearly done."""
    with flow(tmp_path) as stage:
        client = stage.ask()
        if sent:
            stage.says(head(len(LONG), FRESH, TAG), BLOCK * sent)
        client.resets()
        stage.turn()
        assert stage.fetching() == (1 if sent == 90 else 0)
        if sent == 90:
            stage.says(BLOCK * 10)
        stored = stage.stored
        assert (stored.size if stored is not None else 0) == (100 if sent == 90 else sent) * SIZE


QUICK = {
    "a part of it": (b"Range: bytes=0-9", 206),
    "it has it": (b'If-None-Match: "1"', 304),
    "beyond": (b"Range: bytes=99999999-", 416),
}


@pytest.mark.parametrize(("line", "status"), QUICK.values(), ids=QUICK)
@pytest.mark.parametrize("is_at_once", [True, False])
def test_quickly_satisfied(tmp_path: Path, line: bytes, status: int, is_at_once: bool) -> None:
    """Who has what he wants while the bytes arrive leaves, and the fetch ends like any other."""
    with flow(tmp_path) as stage:
        client = stage.ask(line)
        pieces = [head(len(LONG), FRESH, TAG), BLOCK]
        for piece in [b"".join(pieces)] if is_at_once else pieces:
            stage.says(piece)
        assert stage.heard(client).status == status
        assert stage.fetching() == 0


def test_it_is_joined_in_the_last_moment(tmp_path: Path) -> None:
    """Who comes before it has been given up keeps it going."""
    with flow(tmp_path) as stage:
        client = stage.ask()
        stage.says(head(len(LONG), FRESH), BLOCK)
        late = stage.client()
        client.resets()
        late.says(b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n")
        stage.says(BLOCK * 99)
        assert stage.heard(late).body == LONG
        assert len(stage.origins) == 1


@pytest.mark.parametrize("answer", [head(len(LONG), FRESH), head(len(LONG), PRIVATE)])
def test_in_the_background(tmp_path: Path, answer: bytes) -> None:
    """What is fetched for later goes on without its client, unless it can't be stored."""
    with flow(tmp_path, by=rule(OnRange.FILL)) as stage:
        client = stage.ask(b"Range: bytes=0-9")
        stage.says(answer, BLOCK)
        if PRIVATE in answer:
            assert b"Range: bytes=0-9" in stage.asked()
            stage.says(part(LONG, 0, 10, PRIVATE))
        assert stage.heard(client).body == LONG[:10]
        client.resets()
        stage.turn()
        assert stage.fetching() == (0 if PRIVATE in answer else 1)


def test_an_endless_one_in_the_background(tmp_path: Path) -> None:
    """What never ends is given up when the store takes no more of it."""
    limits = StoreLimits(memory=64 * MIB, disk=0, max_object=MIB)
    with flow(tmp_path, limits, rule(OnRange.FILL)) as stage:
        client = stage.ask(b"Range: bytes=0-9")
        stage.says(head(None, FRESH), chunk(BLOCK))
        client.resets()
        for _ in range(40):
            stage.says(chunk(BLOCK))
        assert not stage.origin.is_reading
        stage.waits(200)
        assert stage.fetching() == 0
        assert stage.stored is None


# --- What goes wrong ---


def test_the_error_is_everybodys(tmp_path: Path) -> None:
    """Without an answer everybody hears the same."""
    with flow(tmp_path) as stage:
        clients = [stage.ask(), stage.ask()]
        stage.origin.closes()
        assert [stage.heard(client).status for client in clients] == [502, 502]
        assert stage.records[-1].error == "connection_terminated"


def test_the_dial_fails(tmp_path: Path) -> None:
    """A fetch that ends before it has begun ends for the client that began it, too."""
    with flow(tmp_path) as stage:
        stage.dialler.refusals.append(errors.ConnectRefused("no"))
        assert stage.got().status == 502
        client = stage.ask()
        stage.says(whole(b"x", FRESH))
        assert stage.heard(client).body == b"x"


@pytest.mark.parametrize("is_chunked", [False, True])
def test_it_breaks_off(tmp_path: Path, is_chunked: bool) -> None:
    """Without a strong validator an interruption is the end: the clients see a cut connection."""
    with flow(tmp_path) as stage:
        clients = [stage.ask(), stage.ask()]
        piece = chunk(BLOCK) if is_chunked else BLOCK
        stage.says(head(None if is_chunked else 2 * SIZE, FRESH), piece)
        stage.origin.closes()
        for client in clients:
            heard = stage.heard(client)
            assert (heard.body, heard.is_whole, client.is_gone) == (BLOCK, False, True)
        assert stage.stored is None


def test_one_client_fails(tmp_path: Path, logged_errors: LoggedErrors) -> None:
    """A mistake in how one of them is answered hurts neither the fetch nor the others."""
    with flow(tmp_path) as stage:
        clients = [stage.ask() for _ in range(3)]
        real, failing = ClientReply.begin, clients[1]

        def begin(
            reply: ClientReply, head: OutgoingResponse, body: Framing, is_last: bool = False
        ) -> Sink:
            if reply.transport is failing:
                raise ZeroDivisionError
            return real(reply, head, body, is_last)

        with mock.patch.object(ClientReply, "begin", begin):
            stage.says(head(2 * SIZE, FRESH), BLOCK)
        stage.says(BLOCK)
        assert [stage.heard(client).status for client in clients] == [200, 500, 200]
        assert len(logged_errors.flush(ZeroDivisionError)) == 1


def test_the_store_fails_at_the_end(tmp_path: Path, logged_errors: LoggedErrors) -> None:
    """Whatever goes wrong with storing, everybody hears of the end, and the next may ask."""
    with flow(tmp_path) as stage:
        client = stage.ask()
        with mock.patch.object(Intake, "end", side_effect=ZeroDivisionError):
            stage.says(whole(b"x", PRIVATE))
        assert stage.heard(client).body == b"x"
        assert logged_errors.flush(ZeroDivisionError)


# --- Going on after an interruption ---


@pytest.mark.parametrize("pause", [1, 90, 500])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_it_goes_on(tmp_path: Path, pause: int, is_chunked: bool) -> None:
    """After seconds or minutes the rest is asked for, and the clients notice nothing."""
    with flow(tmp_path) as stage:
        client, follower = stage.ask(), stage.ask()
        piece = chunk(BLOCK) if is_chunked else BLOCK
        stage.says(head(None if is_chunked else 4 * SIZE, FRESH, TAG), piece)
        stage.dialler.refusals = [errors.LineDown("down")] * 1000
        stage.origin.closes()
        stage.waits(pause)
        stage.dialler.refusals = []
        stage.waits(12)
        asked = stage.asked()
        assert b"Range: bytes=%d-" % SIZE in asked
        assert b'If-Range: "1"' in asked
        stage.says(part(BLOCK * 4, SIZE, 4 * SIZE, TAG))
        for each in (client, follower):
            assert (found := stage.heard(each)).body == BLOCK * 4
            assert found.is_whole
        assert stage.got().cache == b"hit"


def test_it_has_patience_only_for_so_long(tmp_path: Path) -> None:
    """Without any progress for ten minutes it is over."""
    with flow(tmp_path) as stage:
        client = stage.ask()
        stage.says(head(2 * SIZE, FRESH, TAG), BLOCK)
        stage.dialler.refusals = [errors.LineDown("down")] * 1000
        stage.origin.closes()
        stage.waits(500)
        assert not client.is_gone
        stage.waits(200)
        stage.dialler.refusals = []
        assert client.is_gone
        assert stage.stored is not None
        assert stage.stored.extents == ((0, SIZE),)


def test_the_client_leaves_in_the_pause(tmp_path: Path) -> None:
    """What nobody waits for isn't taken up again."""
    with flow(tmp_path) as stage:
        client = stage.ask()
        stage.says(head(len(LONG), FRESH, TAG), BLOCK)
        stage.origin.closes()
        client.resets()
        stage.waits(30)
        assert len(stage.origins) == 1


def test_the_rest_in_pieces(tmp_path: Path) -> None:
    """An origin that sends less than the rest is asked for what is missing."""
    content = BLOCK * 3
    with flow(tmp_path) as stage:
        client = stage.ask()
        stage.says(head(3 * SIZE, FRESH, TAG), BLOCK)
        stage.origin.closes()
        for start, end in ((SIZE, SIZE + 100), (SIZE + 100, 2 * SIZE), (2 * SIZE, 3 * SIZE)):
            stage.waits(3)
            assert b"Range: bytes=%d-" % start in stage.asked()
            stage.says(part(content, start, end, TAG))
        assert stage.heard(client).body == content


def test_more_than_the_rest(tmp_path: Path) -> None:
    """Nobody gets more than was promised, and such a thing isn't stored."""
    with flow(tmp_path) as stage:
        client = stage.ask()
        stage.says(head(3 * SIZE, FRESH, TAG), BLOCK)
        stage.origin.closes()
        stage.waits(3)
        place = b"Content-Range: bytes %d-%d/%d" % (SIZE, 3 * SIZE - 1, 3 * SIZE)
        stage.says(head(None, TAG, place, status=b"206 Part"), chunk(BLOCK * 3), LAST_CHUNK)
        heard = stage.heard(client)
        assert (heard.is_whole, client.is_gone, stage.stored) == (False, True, None)


@pytest.mark.parametrize("status", [b"200 OK", b"404 Gone", b"206 Part"])
def test_it_is_another_one(tmp_path: Path, status: bytes) -> None:
    """What is of another version is never joined, and what came of the old one is void."""
    with flow(tmp_path) as stage:
        client = stage.ask()
        stage.says(head(2 * SIZE, FRESH, TAG), BLOCK)
        stage.origin.closes()
        stage.waits(3)
        place = b"Content-Range: bytes %d-%d/%d" % (SIZE, 2 * SIZE - 1, 2 * SIZE)
        stage.says(whole(BLOCK, FRESH, b'ETag: "2"', place, status=status))
        heard = stage.heard(client)
        assert (heard.body, heard.is_whole, client.is_gone) == (BLOCK, False, True)
        assert stage.stored is None


def test_all_comes_again(tmp_path: Path) -> None:
    """An origin that knows no ranges sends all, and the clients get only what they miss."""
    with flow(tmp_path) as stage:
        client = stage.ask()
        stage.says(head(3 * SIZE, FRESH, TAG), BLOCK)
        stage.origin.closes()
        stage.waits(3)
        stage.says(head(3 * SIZE, FRESH, TAG), BLOCK[:1000])
        stage.says(BLOCK[1000:], BLOCK * 2)
        assert stage.heard(client).body == BLOCK * 3


@pytest.mark.parametrize("times", [1, 5])
def test_an_origin_in_trouble_is_given_time(tmp_path: Path, times: int) -> None:
    """500, 503 or 429 for the rest is no end yet."""
    with flow(tmp_path) as stage:
        client = stage.ask()
        stage.says(head(2 * SIZE, FRESH, TAG), BLOCK)
        stage.origin.closes()
        for _ in range(times):
            stage.waits(12)
            stage.says(whole(b"later", status=b"503 Busy"))
        stage.waits(12)
        stage.says(part(BLOCK * 2, SIZE, 2 * SIZE, TAG))
        assert stage.heard(client).body == BLOCK * 2


def test_an_origin_that_knows_only_parts(tmp_path: Path) -> None:
    """Whatever it is asked it sends a part: it is asked twice, and the client gets the last."""
    content = BLOCK * 4
    with flow(tmp_path) as stage:
        first = stage.ask(b"Range: bytes=0-65535")
        stage.says(part(content, 0, SIZE, FRESH, TAG))
        stage.heard(first)
        client = stage.ask()
        stage.says(part(content, 5, 100, FRESH, TAG))
        assert not any(line.startswith(b"Range") for line in stage.asked())
        stage.says(part(content, 5, 100, FRESH, TAG))
        assert stage.heard(client).status == 206
        assert stage.fetching() == 0
