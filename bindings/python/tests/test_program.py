"""``python -m shm_mailbox``: its output, and its exit codes, which are those of ``mailbox``.

0 done, 1 nothing there, 2 usage or failure, 3 another writer, 124 time ran out, 130 Ctrl-C.
"""

import signal
import subprocess
import sys
import time

from shm_mailbox import Reader, Writer
from support import LIMIT, MailboxTest, end, is_asleep, wait_until

PROGRAM = [sys.executable, "-m", "shm_mailbox"]


class Program(MailboxTest):
    def run_it(self, *arguments, stdin=b""):
        result = subprocess.run([*PROGRAM, *arguments], input=stdin, capture_output=True, timeout=LIMIT, check=False)
        return result.returncode, result.stdout, result.stderr.decode()

    def start(self, *arguments):
        process = subprocess.Popen([*PROGRAM, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(end, process)
        return process

    def test_put_and_get(self):
        self.assertEqual(self.run_it("put", "door", "open"), (0, b"", ""))
        self.assertEqual(self.run_it("get", "door"), (0, b"open\n", ""))
        self.assertEqual(self.run_it("put", "door", stdin=b"a\nb\n\xff\r\n"), (0, b"", ""))
        self.assertEqual(self.run_it("get", "door"), (0, b"\xff\r\n", ""))
        with Reader("door") as reader:
            self.assertEqual((reader.read(0), reader.number), (b"\xff\r", 4))

    def test_put_publishes_each_line_as_it_comes(self):
        process = self.start("put", "door")
        reader = self.enter(Reader("door"))
        for line in [b"1", b"2", b"3"]:
            process.stdin.write(line + b"\n")
            process.stdin.flush()
            self.assertEqual(reader.read(LIMIT), line)
        process.stdin.write(b"last")
        process.stdin.close()
        self.assertEqual(process.wait(LIMIT), 0)
        self.assertEqual(reader.read(LIMIT), b"last")

    def test_put_makes_the_mailbox_larger(self):
        long = b"x" * 10_000
        self.assertEqual(self.run_it("put", "door", stdin=b"short\n" + long + b"\n"), (0, b"", ""))
        self.assertEqual(self.run_it("get", "door"), (0, long + b"\n", ""))

    def test_watch(self):
        writer = self.enter(Writer("door"))
        writer.write("1")
        process = self.start("watch", "door", "-n", "3")
        for line in [b"1\n", b"2\n", b"3\n"]:
            self.assertEqual(process.stdout.readline(), line)
            writer.write(str(int(line) + 1))
        self.assertEqual(process.wait(LIMIT), 0)

    def test_watch_ends_quietly_with_its_consumer(self):
        writer = self.enter(Writer("door"))
        writer.write("1")
        process = subprocess.Popen(
            [*PROGRAM, "watch", "door"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.addCleanup(end, process)
        self.assertEqual(process.stdout.readline(), b"1\n")
        process.stdout.close()
        wait_until(lambda: writer.write("x") and process.poll() is not None)
        self.assertEqual((process.returncode, process.stderr.read()), (0, b""))

    def test_exit_codes(self):
        self.assertEqual(self.run_it("get", "door")[:2], (1, b""))
        self.assertEqual(self.run_it("get", "door", "--wait", "0.01")[:2], (124, b""))
        self.assertEqual(self.run_it("watch", "door", "--timeout", "0.01")[:2], (124, b""))
        self.assertEqual(self.run_it("lose", "door")[0], 2)
        self.assertEqual(self.run_it("get")[0], 2)
        self.assertEqual(self.run_it("get", "..")[0], 2)
        self.enter(Writer("door"))
        code, _, said = self.run_it("put", "door", "x")
        self.assertEqual(code, 3)
        self.assertRegex(said, "^python -m shm_mailbox: .*another writer")
        self.assertEqual(len(said.splitlines()), 1)
        code, _, said = self.run_it("get", "door", "--dir", "/no/such/directory")
        self.assertEqual(code, 2)
        self.assertEqual(len(said.splitlines()), 1)

    def test_ctrl_c(self):
        for verb in ["watch", "put"]:
            process = self.start(verb, "door")
            wait_until(lambda: is_asleep(process.pid))
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(LIMIT), 130, verb)
