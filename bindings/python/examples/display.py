"""Shows the newest line, slowly; waits while there is nothing new. May start before sensor.py, and outlive it."""

import time

from shm_mailbox import Reader

with Reader("clock") as clock:
    for line in clock:
        print(line.decode(), f"({clock.missed} missed)", flush=True)
        time.sleep(0.1)
