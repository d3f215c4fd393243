"""Signals as a terminal has them: a shell's background job ignores Ctrl-C, and what it starts inherits that."""

import signal

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
