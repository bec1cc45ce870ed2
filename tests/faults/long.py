"""An hour of faults in an order that nobody chose: ``python -m tests.faults.long --seeds 20 --minutes 60``.

For each seed a service of two HTTP processes and two workers runs while clients post; one random fault follows the
other. Afterwards everything must settle, no file may stay that is nobody's, and the record is audited. A line of JSON a
seed; the first failure ends it.
"""

import argparse
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable

from tests.faults.audit import audit, settle, sweep
from tests.faults.clients import posting
from tests.faults.fleet import Fleet, Part, fleet

# Three clients that pause for so long post 6 scenarios a second, and two workers build 8.
PAUSE_S = 0.5
Fault = Callable[[Fleet, random.Random], None]


def kill_worker(running: Fleet, draw: random.Random) -> None:
    draw.choice(running.workers).kill()


def freeze_worker(running: Fleet, draw: random.Random) -> None:
    frozen = draw.choice(running.workers)
    frozen.signal(signal.SIGSTOP)
    time.sleep(draw.uniform(0.5, 6))
    frozen.signal(signal.SIGCONT)


def kill_api(running: Fleet, draw: random.Random) -> None:
    draw.choice(running.apis).kill()


def end_part(running: Fleet, draw: random.Random) -> None:
    """End a process in order, as an update does."""
    part: Part = draw.choice([*running.apis, *running.workers])
    part.end()
    part.wait()


def flush_redis(running: Fleet, draw: random.Random) -> None:
    assert running.redis is not None
    running.redis.flush()


def lose_redis(running: Fleet, draw: random.Random) -> None:
    assert running.redis is not None
    running.redis.kill()
    time.sleep(draw.choice([0, 2, 30]))
    running.redis.start()


def lose_postgres(running: Fleet, draw: random.Random) -> None:
    running.postgres.stop(signal.SIGQUIT)
    time.sleep(draw.choice([0, 2, 30]))
    running.postgres.start()
    running.recover(20)


def set_clock(running: Fleet, draw: random.Random) -> None:
    running.set_clock(draw.choice([*running.apis, *running.workers]), draw.choice([-3600, -30, 0, 30, 3600]))


FAULTS: tuple[Fault, ...] = (
    kill_worker, freeze_worker, kill_api, end_part, flush_redis, lose_redis, lose_postgres, set_clock,
)  # fmt: skip


def run(seed: int, duration_s: float) -> dict[str, object]:
    """Run one seed; return what happened.

    Raises:
        AssertionError: something was lost, doubled, shown to another tenant or did not settle, or a file stayed.
    """
    draw, done = random.Random(seed), Counter[str]()
    began = time.monotonic()
    with fleet(apis=2, workers=2) as running:
        options = {"threads": 3, "pause_s": PAUSE_S, "labels": {"phase_s": "0.05"}}
        with posting(running, seed=seed, **options) as ledger:
            while time.monotonic() - began < duration_s:
                time.sleep(draw.uniform(0.2, 2))
                fault = draw.choice(FAULTS)
                done[fault.__name__] += 1
                fault(running, draw)
                running.keep()
            running.recover(30)
        settle(running, 180)
        left = sweep(running)
        states = audit(running, ledger)
    return {
        "seed": seed,
        "duration_s": round(time.monotonic() - began, 1),
        "accepted": len(ledger.accepted),
        "unanswered": ledger.unanswered,
        "refused": dict(Counter(str(status) for status, _, _ in ledger.refused)),
        "ended": dict(states),
        "files_swept": left,
        "faults": dict(done),
    }


def main() -> None:
    """Run all seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args()
    for seed in range(options.first, options.first + options.seeds):
        print(json.dumps(run(seed, options.minutes * 60 / options.seeds)), flush=True)
    print(f"{options.seeds} seeds: nothing lost, nothing doubled, nothing left", file=sys.stderr)


if __name__ == "__main__":
    main()
