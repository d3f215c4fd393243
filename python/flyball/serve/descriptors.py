"""File descriptors: a connection takes one, and a usual soft limit of 1,024 would refuse clients that do no harm."""

from __future__ import annotations

import resource

from ..errors import InvalidArgument
from .settings import ServeSettings

_OTHER = 64  # of models, store, journal, logs and the event loop


def raise_limit(settings: ServeSettings) -> None:
    """Have as many as the system allows; InvalidArgument if those that may run and wait would not all get one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    needed = settings.parallel + settings.waiting + _OTHER
    if hard != resource.RLIM_INFINITY and hard < needed:
        what = (
            f"is {settings.waiting}: with serve.parallel {settings.parallel} that needs {needed} file descriptors, and"
            f" the system allows {hard}; raise that (ulimit -Hn {needed}, or LimitNOFILE of systemd), or set it lower"
        )
        raise InvalidArgument("serve.waiting", what)
