"""Writes what is true now, as often as it likes; never waits for a reader. Start, kill and start it again at will."""

import datetime
import time

from shm_mailbox import Writer

with Writer("clock") as clock:
    while True:
        clock.write(str(datetime.datetime.now().time()))
        time.sleep(0.01)
