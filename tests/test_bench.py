"""The bench's arithmetic, options, parsing and tables; no load is run."""

from __future__ import annotations

import dataclasses
import importlib.machinery
import importlib.util
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from bench import __main__ as program
from bench import (
    certificates,
    client,
    figures,
    idle,
    loads,
    nginx,
    options,
    origin,
    servers,
    subjects,
    table,
    works,
)

ROUND = figures.Round(
    work="forward 1 KiB",
    subject="proxyapp",
    requests=10_000,
    octets=20_000_000,
    seconds=2.0,
    cpu_seconds=0.5,
    errors=0,
    dialled=32,
    p50=0.0001,
    p99=0.002,
)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sprint"],
        ["forward", "--rounds", "0"],
        ["forward", "--seconds", "-1"],
        ["forward", "--connections", "many"],
        ["forward", "--subjects", ""],
        ["forward", "--subjects", "squid,varnish"],
        ["forward", "--colour"],
    ],
)
def test_a_wrong_command_line_ends_with_status_two(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake on the command line is told before anything starts."""
    with pytest.raises(SystemExit) as ended:
        options.parse(arguments)
    assert ended.value.code == 2
    assert "usage: python -m bench" in capsys.readouterr().err


def test_defaults_measure_every_subject_in_three_rounds() -> None:
    """A bare command means everybody, three rounds, ten thousand idle connections."""
    assert options.parse(["all"]) == options.Options(command="all")
    assert options.Options("all").subjects == tuple(subjects.KINDS)


def test_every_option_reaches_the_value() -> None:
    """Each option lands in its own field, and the subjects stand in our order."""
    line = "tunnel --subjects nginx,squid --rounds 1 --seconds 2 --connections 256"
    line += " --idle-connections 50 --json out.json --set log.format=pool --set pool.retries=0"
    line += " --row KiB"
    assert options.parse(line.split()) == options.Options(
        command="tunnel",
        subjects=("squid", "nginx"),
        rounds=1,
        seconds=2,
        connections=256,
        idle_connections=50,
        json=Path("out.json"),
        settings=("log.format=pool", "pool.retries=0"),
        row="KiB",
    )


def test_rows_are_chosen_by_a_part_of_their_names() -> None:
    """All of them without one."""
    assert works.wanted(works.CACHE, "") == list(works.CACHE)
    assert [work.name for work in works.wanted(works.CACHE, "hit 1 K")] == ["hit 1 KiB"]
    assert works.wanted(works.CACHE, "nothing of the kind") == []


@pytest.mark.parametrize("command", options.COMMANDS)
def test_every_command_has_its_works(command: str) -> None:
    """No command is accepted that nothing answers, and no two works share a name."""
    names = [work.name for work in works.COMMANDS[command]]
    assert len(set(names)) == len(names)
    assert names or command in ("idle", "fetch", "cache", "workers")


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        (figures.requests_per_second, 5_000),
        (figures.cpu_us_per_request, 50),
        (figures.cpu_ms_per_gb, 25_000),
        (figures.mb_per_second, 10),
        (figures.p50_us, 100),
        (figures.p99_us, 2_000),
    ],
)
def test_figures_of_a_round(figure: object, expected: float) -> None:
    """Each figure is in the unit its name says."""
    assert callable(figure)
    assert figure(ROUND) == pytest.approx(expected)


@pytest.mark.parametrize("measure", [m for work in works.COMMANDS["all"] for m in work.measures])
def test_a_round_without_requests_has_no_figures(measure: figures.Measure) -> None:
    """A subject that answered nothing gets an empty cell or a zero, not a division by zero."""
    nothing = ROUND._replace(requests=0, octets=0, p50=0.0, p99=0.0)
    assert not measure.of(nothing)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([None, None], None),
        ([None, 2.0], figures.Spread(2.0, 2.0, 2.0)),
        ([3.0, 1.0, 2.0], figures.Spread(1.0, 2.0, 3.0)),
        ([4.0, 1.0], figures.Spread(1.0, 2.5, 4.0)),
    ],
)
def test_spread_is_median_between_extremes(
    values: list[float | None], expected: figures.Spread | None
) -> None:
    """Missing figures are left out; the median of an even number lies between two."""
    assert figures.spread(values) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "0.00"), (0.444, "0.44"), (12.34, "12.3"), (640.6, "641"), (12_345.6, "12,346")],
)
def test_numbers_have_three_digits(value: float, expected: str) -> None:
    """A figure shows no more digits than it deserves."""
    assert figures.number(value) == expected


def test_one_round_shows_no_range() -> None:
    """A range is only shown where there was one."""
    assert str(figures.Spread(5.0, 5.0, 5.0)) == "5.00"
    assert str(figures.Spread(5.0, 6.0, 70.0)) == "6.00 (5.00-70.0)"


@pytest.mark.parametrize(
    ("requests", "dialled", "reused"),
    [
        (10_000, 10_000, False),
        (10_000, 565, False),
        (10_000, 564, True),
        (10, 64, True),
        (0, 65, False),
    ],
)
def test_pool_reuse_is_judged_by_dials(requests: int, dialled: int, reused: bool) -> None:
    """A dial for every request fails; two for each connection of the load are forgiven."""
    played = ROUND._replace(requests=requests, dialled=dialled)
    assert figures.pool_is_reused(played, connections=32) is reused


@pytest.mark.parametrize(
    ("played", "words"),
    [
        (ROUND._replace(errors=3), "3 errors"),
        (ROUND._replace(requests=0, dialled=0), "0 requests"),
        (ROUND._replace(dialled=10_000), "10000 dials"),
        (ROUND._replace(subject="squid", errors=1), "squid: 1 errors"),
    ],
)
def test_worthless_rounds_are_failures(played: figures.Round, words: str) -> None:
    """Errors of anybody and dials of ours fail the run, with who and how many."""
    found = works.failures(works.FORWARD[0], [ROUND, played], connections=32)
    assert len(found) == 1
    assert words in found[0]


def test_a_rival_may_dial_as_it_likes() -> None:
    """Only our own pool has to be reused, and only where the work pools."""
    rival = ROUND._replace(subject="tinyproxy", dialled=10_000)
    tunnel = ROUND._replace(work="tunnel set-up", dialled=10_000)
    assert works.failures(works.FORWARD[0], [rival], connections=32) == []
    assert works.failures(works.TUNNEL[1], [tunnel], connections=32) == []


def test_percentile_takes_the_nearest_rank() -> None:
    """The percentile is one of the values, never past the end."""
    values = [float(value) for value in range(1, 101)]
    assert loads.percentile(values, 50) == 50
    assert loads.percentile(values, 99) == 99
    assert loads.percentile([7.0], 99) == 7
    assert loads.percentile([7.0], 0) == 7


@pytest.mark.parametrize(("keeps", "errors"), [(True, 7), (False, 3)])
def test_wrk_figures_become_a_load(keeps: bool, errors: int) -> None:
    """Microseconds become seconds; an ended connection is an error unless it's the custom."""
    load = loads.parse_wrk("1000 2000000 2500000 3 4 150 900\n", keeps)
    assert load == loads.Load(1000, 2_000_000, 2.5, errors, 150 / 1e6, 900 / 1e6)


def test_repeat_stops_at_the_count() -> None:
    """A count bounds the load where time alone would not."""
    load = loads.repeat(lambda: 10, seconds=60, at_most=7)
    assert (load.requests, load.octets, load.errors) == (7, 70, 0)


def test_repeat_gives_up_on_errors() -> None:
    """A load that only meets errors ends early and says how many."""

    def refuse() -> int:
        raise ConnectionRefusedError

    load = loads.repeat(refuse, seconds=60)
    assert (load.requests, load.errors) == (0, loads.MAX_ERRORS)


STAT = "42 (odd) name) S 7 42 42 0 -1 0 0 0 0 0 100 20 3 1 20 0 1 0 5555 1000 2000"


def test_stat_line_is_read_past_an_odd_name() -> None:
    """Parentheses and blanks in a process name don't shift the fields."""
    assert servers.parse_stat(STAT) == servers.Process(42, parent=7, started=5555, ticks=124)


def test_family_is_the_whole_tree() -> None:
    """Children and their children belong to it; the parent and the neighbours don't."""
    everybody = [servers.Process(pid, parent, 0, 0) for pid, parent in
                 [(5, 4), (1, 0), (2, 1), (3, 2), (4, 2), (9, 1)]]  # fmt: skip
    assert {process.pid for process in servers.family(2, everybody)} == {2, 3, 4, 5}
    assert servers.family(77, everybody) == []


def test_free_ports_differ() -> None:
    """Ports are found together, so that none is found twice."""
    ports = servers.free_ports(5)
    assert len(set(ports)) == 5


def test_counts_are_read_from_the_status_page() -> None:
    """The first of the three counters counts connections, the last one requests."""
    page = b"Active connections: 2 \nserver accepts handled requests\n 31 32 5000 \nReading: 0 \n"
    assert origin.counts_in(page) == (31, 5000)


def test_counts_are_without_the_one_that_asks() -> None:
    """Asking twice makes a connection and a request more."""
    assert origin.Counts(33, 5010).since(origin.Counts(31, 5000)) == (1, 9)


def answered(response: bytes) -> client.Answer:
    """Return what our client makes of *response* followed by the end of the stream."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = client.Connection(listener.getsockname()[1])
        peer, _ = listener.accept()
        peer.sendall(response)
        peer.shutdown(socket.SHUT_WR)
        with connection, peer:
            return connection.ask(b"GET / HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 xyz\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfour",
    ],
)
def test_a_broken_answer_is_unexpected(response: bytes) -> None:
    """A load never counts half an answer as one."""
    with pytest.raises(client.Unexpected):
        answered(response)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfour", (200, b"four", True)),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", (403, b"", True)),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nfour", (200, b"four", False)),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            (200, b"", False),
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", (200, b"until the end", False)),
    ],
)
def test_answers_are_read_whole(response: bytes, expected: tuple[int, bytes, bool]) -> None:
    """Length or close frames the body, and says whether the connection can be asked again."""
    assert answered(response) == expected


def ground(folder: Path, connections: int = 32) -> subjects.Ground:
    """Return ground for a subject that is configured and never started."""
    return subjects.Ground(
        "PROGRAM", folder, 1001, 1002, 1003, folder / "files", connections, ("log.format=pool",)
    )


@pytest.mark.parametrize("key", list(subjects.KINDS))
def test_every_subject_listens_on_loopback_and_logs(key: str, tmp_path: Path) -> None:
    """Each configuration binds 127.0.0.1 only and has its request log on, in its folder."""
    argv = subjects.KINDS[key].argv(ground(tmp_path))
    (config,) = (path for path in tmp_path.iterdir() if path.suffix in (".ini", ".conf"))
    text = config.read_text()
    assert argv[0] == "PROGRAM"
    assert str(config) in argv
    assert "1001" in text
    assert "127.0.0.1" in text
    assert str(tmp_path) in text
    assert ".log" in text


@pytest.mark.parametrize(("connections", "idle_kept"), [(1, 64), (32, 64), (256, 256)])
def test_pools_keep_as_many_as_the_load_has(
    connections: int, idle_kept: int, tmp_path: Path
) -> None:
    """Our pool and nginx's are given the same room."""
    subjects.proxyapp(ground(tmp_path, connections))
    subjects.reverse_proxy(ground(tmp_path, connections))
    assert f"max_idle_per_host = {idle_kept}\n" in (tmp_path / "proxyapp.ini").read_text()
    assert f"keepalive {idle_kept};" in (tmp_path / "nginx.conf").read_text()


@pytest.mark.parametrize(
    ("work", "keys"),
    [
        (works.STATIC[0], ["proxyapp", "nginx"]),
        (works.FORWARD[0], ["proxyapp", "squid", "tinyproxy", "nginx"]),
        (works.TUNNEL[0], ["proxyapp", "squid", "tinyproxy"]),
        (works.UPGRADE[0], ["proxyapp", "squid"]),
    ],
)
def test_who_takes_part(work: works.Work, keys: list[str]) -> None:
    """Only those who can do a work are put to it; proxies have no files of their own."""
    server, source = cast(servers.Server, None), cast(origin.Origin, None)
    running = [subjects.Subject(key, key, 1001, server, 1002) for key in subjects.KINDS]
    assert [each.key for each in works.entrants(work, running, source)] == keys


@pytest.mark.parametrize(("work", "port"), [(works.STATIC[0], 1002), (works.FORWARD[0], 1001)])
def test_a_work_goes_to_its_port(work: works.Work, port: int) -> None:
    """Files are asked of the site, everything else of the proxy."""
    subject = subjects.Subject("proxyapp", "", 1001, cast(servers.Server, None), 1002)
    source = cast(origin.Origin, SimpleNamespace(port=1003, tls_port=1004))
    route = loads.Route(port, 1003, keeps=True, tls_port=1004)
    assert works.route(work, subject, source) == route


@pytest.mark.parametrize(
    ("load", "target", "host"),
    [
        (loads.static, "/1k.bin", "127.0.0.1:1002"),
        (loads.forward, "http://127.0.0.1:1003/1k.bin", "127.0.0.1:1003"),
        (loads.upgrade, "https://127.0.0.1:1004/1k.bin", "127.0.0.1:1004"),
    ],
)
def test_wrk_is_told_what_to_ask(
    monkeypatch: pytest.MonkeyPatch, load: Callable[..., loads.Load], target: str, host: str
) -> None:
    """A site is asked for a path, and a proxy for a whole URL."""
    asked: list[list[str]] = []

    def run(argv: list[str], **_: object) -> SimpleNamespace:
        asked.append(argv)
        return SimpleNamespace(returncode=0, stderr="5 5120 2000000 0 0 10 20\n")

    monkeypatch.setattr("subprocess.run", run)
    found = load("1k.bin", loads.Route(1002, 1003, tls_port=1004), loads.Size(2, 32))
    assert (found.requests, found.octets) == (5, 5120)
    assert asked[0][-4:] == ["http://127.0.0.1:1002/", "--", target, host]


@pytest.mark.parametrize("make", [subjects.proxyapp, subjects.reverse_proxy])
def test_sites_serve_the_files_of_the_origin(
    tmp_path: Path, make: Callable[[subjects.Ground], list[str]]
) -> None:
    """Whoever is put to `static` serves the same folder, on the port that the load asks."""
    make(ground(tmp_path))
    (config,) = (path for path in tmp_path.iterdir() if path.suffix in (".ini", ".conf"))
    text = config.read_text()
    assert "1002" in text
    assert str(tmp_path / "files") in text


def test_who_upgrades_trusts_the_origin(tmp_path: Path) -> None:
    """Both who are put to `upgrade` are told of the authority that is made for it."""
    certificates.make(tmp_path)
    trusted = tmp_path / certificates.TRUSTED
    for make, name in ((subjects.proxyapp, "proxyapp.ini"), (subjects.squid, "squid.conf")):
        make(dataclasses.replace(ground(tmp_path), trusted=trusted))
        assert str(trusted) in (tmp_path / name).read_text()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / certificates.SERVER)
    context.load_verify_locations(trusted)
    assert context.cert_store_stats()["x509_ca"] == 1


def test_settings_are_handed_to_proxyapp(tmp_path: Path) -> None:
    """What --set says comes after the ini, and so overrides it."""
    assert subjects.proxyapp(ground(tmp_path))[-2:] == ["--set", "log.format=pool"]


def test_an_absent_rival_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rival that isn't installed is one sentence, not a traceback."""
    absent = dataclasses.replace(subjects.KINDS["squid"], find=lambda: None)
    monkeypatch.setitem(subjects.KINDS, "squid", absent)
    with pytest.raises(servers.StartFailed, match="Squid is not installed"):
        subjects.start("squid", tmp_path, 0, 1003, options.Options("forward"))


def test_nginx_configuration_balances_its_braces(tmp_path: Path) -> None:
    """The nginx configurations close every block they open."""
    site = nginx.reverse_proxy(1, 2, 64, tmp_path / "log") + nginx.files(3, tmp_path)
    for http in (nginx.origin(1, 2, tmp_path, tmp_path / "server.pem"), site):
        nginx.argv("nginx", tmp_path, http)
        text = (tmp_path / "nginx.conf").read_text()
        assert text.count("{") == text.count("}") > 2


@pytest.mark.parametrize(
    ("share", "bar", "expected"),
    [
        ("0.61", 0.6, "<= 0.60 MISSED"),
        ("0.60", 0.6, "<= 0.60 ok"),
        ("", 0.6, "<= 0.60"),
        ("0.61", None, ""),
    ],
)
def test_verdict_on_a_share(share: str, bar: float | None, expected: str) -> None:
    """A bar is passed at its own value, and says nothing where we weren't measured."""
    assert table.verdict(share, bar) == expected


def test_work_table_sets_us_beside_each_rival() -> None:
    """The table has a row a subject, the ratio of the medians, and the bar."""
    work = works.FORWARD[0]
    squid = ROUND._replace(subject="squid", cpu_seconds=1.0)
    rounds = [ROUND, squid, ROUND._replace(cpu_seconds=0.4), squid, ROUND, squid]
    text = table.work_table(work, rounds, {"proxyapp": "proxyapp", "squid": "Squid"})
    title, headings, rule, ours, theirs = text.splitlines()
    assert title == "forward 1 KiB"
    assert headings.split()[:3] == ["requests/s", "CPU", "us/request"]
    assert set(rule) == {"-", " "}
    assert ours.split() == ["proxyapp", "5,000", "50.0", "(40.0-50.0)", "0", "96"]
    assert theirs.split() == ["Squid", "5,000", "100", "0", "96", "0.50", "<=", "0.60", "ok"]


def test_work_table_without_us_has_no_ratio() -> None:
    """Rivals alone make a table too."""
    squid = ROUND._replace(subject="squid")
    text = table.work_table(works.FORWARD[0], [squid], {"squid": "Squid"})
    assert text.splitlines()[-1].split() == ["Squid", "5,000", "50.0", "0", "32", "<=", "0.60"]


IDLE = idle.Idle("proxyapp", 1000, 0, 0, 0.0, held_bytes=8_192_000, left_bytes=2048,
                 descriptors_left=0)  # fmt: skip


@pytest.mark.parametrize(
    ("played", "failed"),
    [
        (IDLE._replace(dropped=1), True),
        (IDLE._replace(errors=1), True),
        (IDLE._replace(descriptors_left=1), True),
        (IDLE._replace(subject="squid", descriptors_left=1), False),
        (IDLE, False),
    ],
)
def test_idle_failures(played: idle.Idle, failed: bool) -> None:
    """Dropped connections fail the run, and so do descriptors that we leave open."""
    assert bool(idle.failures(played)) is failed


@pytest.mark.parametrize(
    ("played", "verdict"),
    [
        (IDLE._replace(held_bytes=20_000_000), "MISSED"),
        (IDLE._replace(cpu_seconds=0.01), "MISSED"),
        (IDLE, "ok"),
    ],
)
def test_idle_table_judges_memory_and_cpu(played: idle.Idle, verdict: str) -> None:
    """Twelve KiB and a processor share of 0.0 % pass; anything past either is missed."""
    text = idle.idle_table([played], {"proxyapp": "proxyapp"})
    assert text.split()[-1] == verdict


def test_one_processor_is_said_aloud() -> None:
    """Figures from a shared processor are never mistaken for good ones."""
    assert "ONLY ONE PROCESSOR" in program.placement(servers.Cpus(0, 0))
    assert "processor 1" in program.placement(servers.Cpus(0, 1))


def test_results_are_written_as_json(tmp_path: Path) -> None:
    """The file holds the options and every raw round."""
    results = program.Results(rounds=[ROUND], idles=[IDLE], failures=["why"])
    results.write(tmp_path / "out.json", options.Options("all", json=tmp_path / "out.json"))
    text = (tmp_path / "out.json").read_text()
    assert '"cpu_seconds": 0.5' in text
    assert '"held_bytes": 8192000' in text
    assert '"rounds": 3' in text
    assert '"why"' in text


def test_no_python_without_twisted_runs_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our plugin folder alone makes `twisted` importable; that isn't Twisted."""
    find = subjects.KINDS["proxyapp"].find
    assert find() is not None
    namespace = importlib.machinery.ModuleSpec("twisted", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: namespace)
    assert find() is None
