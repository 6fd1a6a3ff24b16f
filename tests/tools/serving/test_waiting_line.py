import asyncio
import re
import threading
from pathlib import Path

import httpx
import pytest

from stseg.tools.serving import PictureService, RefusedError, WaitingLine, build_api
from tests.tools.serving.conftest import LIMITS, WORDS, png
from tests.tools.serving.test_rest_endpoint import ask


async def ask_at_once(app, count, ready=None):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:

        async def one(seed):
            files = {"image": ("a.png", png(seed % 3))}
            return await client.post("/api/segment", files=files, data={"words": WORDS})

        tasks = [asyncio.create_task(one(seed)) for seed in range(count)]
        if ready is not None:
            while sum(task.done() for task in tasks) < count - 6:
                await asyncio.sleep(0.01)
            ready.set()
        return await asyncio.gather(*tasks)


def test_twenty_clients_at_once_are_all_served_where_the_line_is_long_enough(service):
    line = WaitingLine(length=19)
    replies = asyncio.run(ask_at_once(build_api(service, line), 20))
    assert [reply.status_code for reply in replies] == [200] * 20 and line.inside == 0
    line.close()


def test_whoever_finds_the_line_full_is_told_when_to_return_and_nobody_else(service, monkeypatch):
    ready, predict = threading.Event(), service._predictor.predict

    def slow(*args):
        assert ready.wait(60)
        return predict(*args)

    monkeypatch.setattr(service._predictor, "predict", slow)
    line = WaitingLine(length=5)
    replies = asyncio.run(ask_at_once(build_api(service, line), 20, ready))
    assert sorted(reply.status_code for reply in replies) == [200] * 6 + [503] * 14
    for reply in replies:
        if reply.status_code == 503:
            assert int(reply.headers["Retry-After"]) >= 1
            assert "at most 5 requests that wait" in reply.json()["error"]
    assert line.inside == 0
    line.close()


def test_one_is_served_at_a_time_in_the_order_of_coming():
    line, seen, inside = WaitingLine(length=9), [], []

    def work(number):
        inside.append(number)
        assert len(inside) == 1
        seen.append(inside.pop())

    async def run():
        await asyncio.gather(*(line.turn(lambda k=k: work(k)) for k in range(10)))

    asyncio.run(run())
    assert seen == list(range(10))
    line.close()


def test_an_error_and_a_client_that_goes_away_leave_their_place():
    line, go = WaitingLine(length=1), threading.Event()

    async def run():
        first = asyncio.create_task(line.turn(lambda: go.wait(60)))
        second = asyncio.create_task(line.turn(lambda: 1))
        await asyncio.sleep(0)
        with pytest.raises(RefusedError, match="at most 1 requests"):
            await line.turn(lambda: 2)
        second.cancel()
        await asyncio.sleep(0)
        go.set()
        await first
        with pytest.raises(ZeroDivisionError):
            await line.turn(lambda: 1 / 0)
        assert await line.turn(lambda: 3) == 3

    asyncio.run(run())
    line.close()
    assert line.inside == 0


@pytest.mark.slow
def test_two_hundred_requests_leave_no_memory_behind(predictor):
    from fastapi.testclient import TestClient

    service, line = PictureService(predictor, LIMITS, kept_pictures=2), WaitingLine()
    client = TestClient(build_api(service, line))

    def run(seeds):
        for seed in seeds:
            words = f"{WORDS}; thing {seed}"
            assert ask(client, png(seed), words).status_code == 200
            assert ask(client, b"no picture", words).status_code == 415
        return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1])

    before = run(range(100))
    assert run(range(100, 300)) - before < 30_000  # kB
    assert len(service._pictures) == 2 and len(service._requests) <= 256
    line.close()
