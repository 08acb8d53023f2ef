"""A mailbox is a named place in shared memory that holds one line: the newest.

One writer that never waits, any number of readers, in any processes of the machine, that always get the newest whole
line: last line wins. Either side may start first, be killed, and be started again.

>>> writer = Writer("clock")            # one program
>>> reader = Reader("clock")            # another
>>> for line in ["12:00", "12:01", "12:02"]:
...     number = writer.write(line)
>>> reader.read()                       # waits while there is nothing new
b'12:02'
>>> reader.try_read()                   # never waits
>>> reader.latest()                     # the newest, again and again
b'12:02'
>>> writer.close(); reader.close()      # the line stays

Mailboxes are the user's own, in /dev/shm/mailbox-<uid>, or in the directory that the environment variable MAILBOX_DIR
names. ``python -m shm_mailbox`` writes and reads them from the shell, as the program ``mailbox`` does.
"""

from ._native import MailboxBusy, Reader, Writer

__all__ = ["MailboxBusy", "Reader", "Writer"]
