"""What holds for all tests."""

from __future__ import annotations

import signal

# A job in the background of a script is started with Ctrl-C ignored, and so is whatever it starts:
# the tests of Ctrl-C would wait for an end that never comes.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
