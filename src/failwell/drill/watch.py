"""
Connections and name look-ups of this process, seen at the moment they are made.

A refused connection leaves nothing on the server's side to count. Python announces every
`connect()` and `getaddrinfo()` to its audit hooks *before* the system call (PEP 578), whichever
library asked, so a drill in the same process can count them, and can open a port just in time
for the third try. Engines that are not written in Python do not announce theirs; for those the
fault counts as not exercised.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

# A hook cannot be taken out again, so there is one, and it looks these tables up.
_ports: dict[int, Callable[[], None]] = {}
_hosts: dict[str, Callable[[], None]] = {}
_lock = threading.Lock()
_installed = False


def on_connect(port: int, call: Callable[[], None]) -> None:
    """Call `call` before every `connect()` to `port` of this machine, until `forget_port`."""
    _install()
    _ports[port] = call


def on_lookup(host: str, call: Callable[[], None]) -> None:
    """Call `call` before every look-up of `host`, until `forget_host`."""
    _install()
    _hosts[host.lower()] = call


def forget_port(port: int) -> None:
    """End what `on_connect` began."""
    _ports.pop(port, None)


def forget_host(host: str) -> None:
    """End what `on_lookup` began."""
    _hosts.pop(host.lower(), None)


def _install() -> None:
    global _installed
    with _lock:
        if not _installed:
            sys.addaudithook(_hook)
            _installed = True


def _hook(event: str, args: tuple[object, ...]) -> None:
    # Called for every audited event of the process: the first line has to be quick.
    if event == "socket.connect":
        address = args[1]
        if isinstance(address, tuple) and len(address) >= 2 and address[1] in _ports:
            _ports[address[1]]()
    elif event == "socket.getaddrinfo":
        host = args[0].decode("latin-1") if isinstance(args[0], bytes) else args[0]
        if isinstance(host, str) and host.lower() in _hosts:
            _hosts[host.lower()]()
