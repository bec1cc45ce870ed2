"""Steps are taken when they are needed, by many at once, and left when nobody needs them any more."""

import itertools
import threading
from pathlib import Path

from service.client import Client
from tests.service.calls.streams import ONE, TWO, stream
from tests.service.making import body
from tests.service.rude import answer, made_job, serving


def test_pages_are_read_when_they_are_needed() -> None:
    page = answer(body={"jobs": [made_job()], "counts": {}, "next_page_token": "a"})
    with serving(page) as rude, Client(rude.url) as client:
        assert len(list(itertools.islice(client.list_jobs(), 1))) == 1
    assert len(rude.asked) == 1


def test_who_stops_listening_leaves() -> None:
    with serving(stream(ONE, TWO)) as rude, Client(rude.url) as client:
        for found in client.events("job_1"):
            assert found.id == "1"
            break
    assert len(rude.asked) == 1


def test_threads_share_a_client(url: str, tmp_path: Path) -> None:
    with Client(url) as client:
        threads = [
            threading.Thread(target=client.generate, args=(body(name=f"t{n}"), tmp_path / str(n)))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    assert len(list(tmp_path.iterdir())) == 8
