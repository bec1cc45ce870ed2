"""Whether a process of this machine still runs."""

import os
import subprocess
import sys

from service.processes import is_alive


def test_a_process_is_alive_until_it_ends_and_this_one_is_no_other() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert is_alive(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(process.pid)  # ended, and not reaped yet
    assert not is_alive(process.pid)
    assert not is_alive(os.getpid())
