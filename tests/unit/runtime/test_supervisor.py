"""The supervisor with small workers, as real processes: early signals, early deaths, one ending."""

import signal
import subprocess
import sys
import textwrap

PREAMBLE = """
import os, signal, sys, time
from runtime.supervisor import RELEASE, Supervisor

def serve(number, ready):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, RELEASE})
    ready()
    signal.sigwait({signal.SIGTERM})
    ready()
    signal.sigwait({RELEASE})
    return 0

def say(text):
    print(text, flush=True)
"""


def start(script: str) -> subprocess.Popen[str]:
    code = PREAMBLE + textwrap.dedent(script)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str], within_s: float) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, err


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == line


def test_workers_that_served_end_together() -> None:
    process = start(
        """
        sys.exit(Supervisor(3, serve, lambda: say("ready"), say, 30.0).main())
        """
    )
    wait_for(process, "ready")
    process.send_signal(signal.SIGTERM)
    assert ended(process, 10.0)[0] == 0


def test_a_worker_that_raises_ends_in_its_own_process() -> None:
    """Its error is told once, and what follows the supervisor runs once, in the supervisor."""
    process = start(
        """
        def fails(number, ready):
            raise ValueError("odd disk")

        try:
            status = Supervisor(2, fails, lambda: say("ready"), say, 30.0).main()
        finally:
            say(f"cleaned up by {os.getpid()}")
        sys.exit(status)
        """
    )
    status, out, err = ended(process, 10.0)
    assert status == 1
    assert out.split("\n") == [f"cleaned up by {process.pid}", ""]
    assert "ValueError: odd disk" in err


def test_a_worker_that_exits_keeps_its_status() -> None:
    process = start(
        """
        def leaves(number, ready):
            sys.exit(3)

        sys.exit(Supervisor(1, leaves, lambda: say("ready"), say, 30.0).main())
        """
    )
    assert ended(process, 10.0)[0] == 1


def test_a_signal_right_after_the_fork_is_not_lost() -> None:
    """The child still has the supervisor's handlers when the signal comes."""
    process = start(
        """
        os.register_at_fork(after_in_child=lambda: (say("forked"), time.sleep(1.0)))
        sys.exit(Supervisor(1, serve, lambda: say("ready"), say, 30.0).main())
        """
    )
    wait_for(process, "forked")
    process.send_signal(signal.SIGTERM)
    status, _, _ = ended(process, 20.0)  # less than it gives its children
    assert status == 0


def test_who_is_ready_only_after_the_signal_is_released_too() -> None:
    process = start(
        """
        def late(number, ready):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, RELEASE})
            os.kill(os.getppid(), signal.SIGTERM)
            signal.sigwait({signal.SIGTERM})
            ready()
            time.sleep(0.3)
            ready()
            signal.sigwait({RELEASE})
            return 0

        sys.exit(Supervisor(1, late, lambda: say("ready"), say, 30.0).main())
        """
    )
    assert ended(process, 20.0)[0] == 0  # less than it gives its children


def test_a_worker_that_dies_is_started_again() -> None:
    process = start(
        """
        import tempfile
        marks = tempfile.TemporaryDirectory()

        def dies_once(number, ready):
            if number == 1 and not os.path.exists(marks.name + "/died"):
                ready()
                time.sleep(0.5)
                open(marks.name + "/died", "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            say(f"worker {number} serves")
            return serve(number, ready)

        with marks:
            sys.exit(Supervisor(2, dies_once, lambda: None, say, 30.0).main())
        """
    )
    wait_for(process, "worker 0 serves")
    wait_for(process, "worker 1 ended with signal 9; starting it again")
    wait_for(process, "worker 1 serves")
    process.send_signal(signal.SIGTERM)
    assert ended(process, 10.0)[0] == 0
