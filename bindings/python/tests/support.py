"""What the tests share: mailboxes in a directory of their own, and programs that play a part."""

import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

# How long a test waits for what must come: long enough that only what never comes can fail it.
LIMIT = 60.0


class MailboxTest(unittest.TestCase):
    """Each test has a directory of its own, in shared memory; MAILBOX_DIR names it."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="mailbox-test-", dir="/dev/shm")
        self.addCleanup(shutil.rmtree, self.dir)
        former = os.environ.get("MAILBOX_DIR")
        os.environ["MAILBOX_DIR"] = self.dir
        self.addCleanup(restore, former)

    def enter(self, manager):
        """Opens what is closed when the test ends."""
        return self.enterContext(manager)

    def program(self, text, *arguments, **options):
        """Starts a program; it is ended with the test, if it has not ended."""
        process = subprocess.Popen(
            [sys.executable, "-c", text, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )
        self.addCleanup(end, process)
        return process

    def hear(self, process):
        """The next line that a program says."""
        if not select.select([process.stdout], [], [], LIMIT)[0]:
            self.fail("a program said nothing")
        return process.stdout.readline().rstrip("\n")

    def best_of(self, attempts, limit, measure):
        """Noise makes times longer, never shorter: one good attempt of several is proof."""
        times = []
        for _ in range(attempts):
            times.append(measure())
            if times[-1] < limit:
                return
        self.fail(f"took {times}, more than {limit} s each time")


def restore(former):
    if former is None:
        del os.environ["MAILBOX_DIR"]
    else:
        os.environ["MAILBOX_DIR"] = former


def end(process):
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()


def is_asleep(pid):
    """Whether a process sleeps."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return stat.read().rpartition(b")")[2].split()[0] == b"S"


def wait_until(condition):
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > LIMIT:
            raise AssertionError("waited in vain")
        time.sleep(0.001)
