"""The HTTP edge: who may speak to it, and what probes say."""

import asyncio
import socket
import time
from collections import Counter

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from mira_stream.errors import UsageError
from mira_stream.http import Door, Refusals, check_bind, guarded, operations, serve
from mira_stream.streaming.health import Check, Health, LoopLag, engine_check, partitions_check
from mira_stream.streaming.metrics import Metrics


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(f"hello {Request(scope).url.path}")(scope, receive, send)


async def test_without_the_token_nothing_is_served() -> None:
    async with (
        serve(guarded(hello, token="secret", names=None), "127.0.0.1", 0) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        for headers in ({}, {"Authorization": "Bearer s"}, {"Authorization": "secret"}, {"Cookie": "mira_token=no"}):
            assert (await client.get("/", headers=headers)).status_code == 401
        assert (await client.get("/?token=wrong")).status_code == 401
        assert (await client.post("/?token=secret")).status_code == 401
        away = httpx.URL(url).copy_with(raw_path=b"//evil.example/x?a=1&token=secret")
        moved = await client.get(away)
        assert (moved.status_code, moved.headers["location"]) == (303, "/evil.example/x?a=1")


async def test_a_browser_is_given_a_cookie_and_an_address_without_the_token() -> None:
    async with (
        serve(guarded(hello, token="secret"), "127.0.0.1", 0) as url,
        httpx.AsyncClient(base_url=url, follow_redirects=True) as browser,
    ):
        first = await browser.get("/page?token=secret")
        assert (first.status_code, first.url.query, first.text) == (200, b"", "hello /page")
        cookie = first.history[0].headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert (await browser.get("/page")).status_code == 200
        assert (await httpx.AsyncClient().get(f"{url}/", headers={"Authorization": "bearer secret"})).status_code == 200


async def test_only_our_own_names_and_pages_are_answered() -> None:
    async with serve(guarded(hello), "127.0.0.1", 0) as url, httpx.AsyncClient(base_url=url) as client:
        port = httpx.URL(url).port
        for host, status in [
            (f"localhost:{port}", 200),
            (f"[::1]:{port}", 200),
            ("LOCALHOST", 200),
            (f"rebound.example:{port}", 421),
            ("127.0.0.1.evil.example", 421),
            ("[", 421),
        ]:
            assert (await client.get("/", headers={"Host": host})).status_code == status, host
        assert (await client.post("/", headers={"Origin": url})).status_code == 200
        for origin in ("https://evil.example", "null", f"http://127.0.0.1:{1 + (port or 0)}"):
            assert (await client.post("/", headers={"Origin": origin})).status_code == 403, origin


def test_a_bind_that_others_reach_asks_for_a_token() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.8.0.1"):
        check_bind(host, "")
    check_bind("0.0.0.0", "secret")
    for host in ("0.0.0.0", "10.0.0.1", "::", "example.org"):
        with pytest.raises(UsageError, match="token_missing"):
            check_bind(host, "")


async def test_an_origin_that_is_no_address_is_refused_and_each_port_has_a_cookie_of_its_own() -> None:
    async with (
        serve(guarded(hello, token="secret"), "127.0.0.1", 0) as one,
        serve(guarded(hello, token="other"), "127.0.0.1", 0) as two,
        httpx.AsyncClient(follow_redirects=True) as browser,
    ):
        broken = {"Origin": "http://[", "Authorization": "Bearer secret"}
        assert (await browser.get(one, headers=broken)).status_code == 403
        for url, token in ((one, "secret"), (two, "other")):
            assert (await browser.get(url, params={"token": token})).status_code == 200
        assert [(await browser.get(url)).status_code for url in (one, two)] == [200, 200]


async def test_what_is_refused_is_counted_each_time_and_logged_once_a_minute() -> None:
    counted, now = Counter[str](), [0.0]
    refusals = Refusals(lambda code: counted.update([code]), lambda: now[0])
    app = guarded(hello, token="secret", refusals=refusals)
    with capture_logs() as lines:
        async with serve(app, "127.0.0.1", 0) as url, httpx.AsyncClient(base_url=url) as client:
            for _ in range(3):
                await client.get("/", headers={"Authorization": "Bearer old"})
            now[0] = 60.0
            await client.get("/")
            await client.get("/", headers={"Host": "rebound.example"})
            await client.get("/", headers={"Origin": "https://evil.example"})
    assert counted == {"token_wrong": 4, "host_unknown": 1, "origin_refused": 1}
    told = [(line["code"], line["requests"], line["last_client"]) for line in lines]
    assert told == [
        ("token_wrong", 1, "127.0.0.1"), ("token_wrong", 3, "127.0.0.1"), ("host_unknown", 1, "127.0.0.1"),
        ("origin_refused", 1, "127.0.0.1"),
    ]  # fmt: skip
    assert "old" not in str(lines)


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connected(url: str, *said: bytes) -> list[Connection]:
    """A connection for each of `said`, which has been sent before the server sees the connection: none is late."""
    opened = []
    for words in said:
        one = socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0))
        one.sendall(words)
        opened.append(one)
    return [await asyncio.open_connection(sock=one) for one in opened]


async def test_connections_are_limited() -> None:
    counted = Counter[str]()
    door = Door(Refusals(lambda code: counted.update([code])), connections_max=3, header_s=600.0)
    async with serve(hello, "127.0.0.1", 0, door) as url:
        standing = await connected(url, b"", b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await standing[2][0].readuntil(b"hello /")).startswith(b"HTTP/1.1 200")
        ((refused, _),) = await connected(url, b"")
        assert (await refused.read()).startswith(b"HTTP/1.1 503")
        for _, writer in standing:
            writer.close()
        while door.connections:  # noqa: ASYNC110 - the server tells no event
            await asyncio.sleep(0)
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/")).status_code == 200
    assert counted == {"connections_full": 1}
    assert door.connections == 0


async def test_a_connection_that_asks_for_nothing_is_closed() -> None:
    counted = Counter[str]()
    door = Door(Refusals(lambda code: counted.update([code])), header_s=0.2)
    async with serve(hello, "127.0.0.1", 0, door) as url:
        half = b"GET / HTTP/1.1\r\n"
        standing = await connected(url, b"", half, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await standing[2][0].readuntil(b"hello /")).startswith(b"HTTP/1.1 200")
        standing[2][1].write(b"\r\n")  # and then nothing of a second one
        for reader, _ in standing:
            assert await reader.read() == b""
        for _, writer in standing:
            writer.close()
    assert counted == {"header_slow": 3}
    assert door.connections == 0


async def test_a_request_that_is_answered_slowly_keeps_its_connection() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.3)  # what is tested: longer than a header may take
        await hello(scope, receive, send)

    async with serve(slow, "127.0.0.1", 0, Door(Refusals(), header_s=0.05)) as url:
        ((reader, writer),) = await connected(url, b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).endswith(b"hello /x")
        writer.close()


async def test_a_taken_port_is_said_and_the_port_is_free_again_behind_the_block() -> None:
    async with serve(hello, "127.0.0.1", 0) as url:
        port = httpx.URL(url).port or 0
        with pytest.raises(UsageError, match="port_in_use"):
            async with serve(hello, "127.0.0.1", port):
                pass
    async with serve(hello, "127.0.0.1", port), httpx.AsyncClient() as client:
        assert (await client.get(f"{url}/x")).text == "hello /x"


async def test_probes_tell_start_readiness_and_drain_apart() -> None:
    metrics, stop = Metrics(), asyncio.Event()
    health, up = metrics.health, asyncio.Event()
    health.draining = stop.is_set
    metrics.dead("score", "too_long")

    def engine() -> Check:
        return engine_check("qa", up.is_set(), 0, 0.0)

    async with (
        serve(operations(metrics.exposition, health), "127.0.0.1", 0) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):

        async def status() -> list[int]:
            return [(await client.get(f"/{name}")).status_code for name in ("startupz", "readyz", "livez")]

        assert await status() == [503, 503, 200]
        with health.checked("started", engine), health.checked("ready", engine):
            assert await status() == [503, 503, 200]
            up.set()
            assert await status() == [200, 200, 200]
            stop.set()
            assert await status() == [200, 503, 200]
            said = (await client.get("/readyz")).json()
        failed = [check for check in said["checks"] if not check["ok"]]
        assert [check["name"] for check in failed] == ["draining"]
        assert all(check["cause"] and check["fix"] for check in failed)
        assert 'mira_dead_letters_total{reason="too_long",stage="score"} 1.0' in (await client.get("/metrics")).text


async def test_a_loop_that_stood_still_is_told_by_livez() -> None:
    now = [0.0]
    health = Health(lambda: now[0])
    beat = asyncio.create_task(health.loop.beat())
    await asyncio.sleep(0)
    assert health.live().ok
    now[0] = 6.0
    assert not health.live().ok  # seen before the late beat itself
    beat.cancel()


async def test_the_lag_of_a_blocked_loop_is_measured() -> None:
    lag = LoopLag()
    beat = asyncio.create_task(lag.beat())
    await asyncio.sleep(0)
    time.sleep(0.5)  # noqa: ASYNC251 - the fault itself
    assert lag.lag_s >= 0.2
    beat.cancel()


async def test_a_short_block_between_two_scrapes_stays_in_the_histogram() -> None:
    metrics = Metrics()
    lag, counted = metrics.health.loop, asyncio.Event()
    count = lag.observe

    def beaten(late_s: float) -> None:
        count(late_s)
        counted.set()

    lag.observe = beaten
    async with lag.beating():
        await counted.wait()
        time.sleep(0.0505)  # noqa: ASYNC251 - the fault itself
        counted.clear()
        await counted.wait()
        for _ in range(3):  # the beats behind it are punctual, and do not take it back
            counted.clear()
            await counted.wait()
    shown = dict(line.rsplit(" ", 1) for line in metrics.exposition().decode().splitlines() if line[0] != "#")
    beats = float(shown["mira_event_loop_lag_seconds_count"])
    assert beats - float(shown['mira_event_loop_lag_seconds_bucket{le="0.03"}']) >= 1
    assert lag.longest_s > 0.03


async def test_a_late_beat_is_told_for_a_second() -> None:
    now, beats = [0.0], asyncio.Queue[float]()
    lag = LoopLag(lambda: now[0])
    lag.observe = beats.put_nowait
    async with lag.beating():
        await asyncio.sleep(0)
        now[0] = 6.0
        assert await beats.get() == pytest.approx(5.98)
        await beats.get()
        assert lag.lag_s == pytest.approx(5.98), "a probe that was held up by it hears of it"
        now[0] = 7.5
        await beats.get()
        await beats.get()
        assert lag.lag_s < 2
    assert lag.longest_s == pytest.approx(5.98)


def test_a_member_to_spare_is_ready_and_one_in_a_rebalance_is_not() -> None:
    assert partitions_check("score.qa", 0, 0, 100.0).ok
    assert partitions_check("score.qa", 2, 2, 0.0).ok
    assert not partitions_check("score.qa", 2, 1, 0.0).ok
    assert not partitions_check("score.qa", None, 0, 0.0).ok


def test_an_engine_that_is_slow_without_work_is_ready() -> None:
    assert engine_check("qa", True, 0, 500.0).ok
    assert not engine_check("qa", True, 3, 61.0).ok
    assert not engine_check("qa", False, 0, 0.0).ok
