"""What a child process that reads strangers' bytes may do: the kernel's bounds, no network, and its own files alone.

Each is for good, and for the process itself. Namespaces and Landlock are Linux's; where one is not to be had the others
hold. Landlock (https://docs.kernel.org/userspace-api/landlock.html) has no library that is kept up: three system calls.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000
MAX_WRITTEN = 4 << 30
"""Bytes of one file."""

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""Numbers of system calls, the same on every architecture that Python's wheels are built for."""
ASK_VERSION, PATH_BENEATH = 1, 1
EXECUTE, READ_FILE, READ_DIR = 1 << 0, 1 << 2, 1 << 3
RIGHTS = ((1, 13), (2, 14), (3, 15), (5, 16))
"""Version of Landlock -> how many rights over files it knows."""
FILE_RIGHTS = EXECUTE | 1 << 1 | READ_FILE | 1 << 14 | 1 << 15
"""Execute, write, read, truncate, ioctl: those that a file can have. All others are a folder's."""
TCP_VERSION, SCOPE_VERSION = 4, 6
BIND_AND_CONNECT, SOCKETS_AND_SIGNALS = 3, 3
SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/ssl/openssl.cnf",
    "/etc/localtime",
    "/dev/null",
    "/dev/urandom",
)
"""What libraries read; no configuration beside, and nothing of anyone's home."""


def limit(memory: int, seconds: int) -> None:
    """Bounds that the kernel keeps: bytes of address space and of a file, seconds of processor time, no core dumps."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_WRITTEN, MAX_WRITTEN))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def leave_network() -> bool:
    """Into a namespace without a network; False where the system lets nobody."""
    with contextlib.suppress(OSError, AttributeError, ValueError):
        library = ctypes.CDLL(None, use_errno=True)
        return not library.unshare(CLONE_NEWNET) or not library.unshare(CLONE_NEWUSER | CLONE_NEWNET)
    return False


def landlock() -> int:
    """The version of Landlock that this kernel has; 0 without one, and on any other system than Linux."""
    if platform.system() != "Linux":  # elsewhere these numbers are other calls
        return 0
    with contextlib.suppress(OSError, AttributeError, ValueError):
        return max(0, int(ctypes.CDLL(None, use_errno=True).syscall(CREATE_RULESET, None, 0, ASK_VERSION)))
    return 0


def keep_to(folder: Path, reads: Iterable[Path]) -> bool:
    """Write below `folder` alone, and read that, `reads`, this Python and the system's libraries.

    Nothing else is opened, no program started; with Linux 6.7 no TCP connection made, with 6.12 no other process sent a
    signal. False where Landlock is missing.
    """
    with contextlib.suppress(OSError, AttributeError, ValueError):
        library, version = ctypes.CDLL(None, use_errno=True), landlock()
        if version < 1:
            return False
        rights = (1 << max(count for least, count in RIGHTS if version >= least)) - 1
        words = [rights]
        words += [BIND_AND_CONNECT] if version >= TCP_VERSION else []
        words += [SOCKETS_AND_SIGNALS] if version >= SCOPE_VERSION else []
        asked = struct.pack(f"={len(words)}Q", *words)
        rules = library.syscall(CREATE_RULESET, asked, len(asked), 0)
        if rules < 0:
            return False
        try:
            for path in (*map(Path, SYSTEM), *_python(), *reads):
                _allow(library, rules, path, READ_FILE | READ_DIR)
            if not _allow(library, rules, folder, rights & ~EXECUTE):
                return False
            if library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
                return False
            return not library.syscall(RESTRICT_SELF, rules, 0)
        finally:
            os.close(rules)
    return False


def _python() -> set[Path]:
    """Where this interpreter and its packages are, but for the folder that the service happens to run in."""
    packages = {Path(one) for one in sys.path if one and Path(one).resolve() != Path.cwd()}
    return {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).resolve().parents[1], *packages}


def _allow(library: ctypes.CDLL, rules: int, path: Path, granted: int) -> bool:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False  # it is not there
    try:
        if not path.is_dir():
            granted &= FILE_RIGHTS
        rule = struct.pack("=Qi", granted, opened)
        return not library.syscall(ADD_RULE, rules, PATH_BENEATH, rule, 0)
    finally:
        os.close(opened)


def without_network() -> bool:
    """May children go without a network here? One tries, and ends."""
    return _tried(leave_network)


def with_own_files(folder: Path) -> bool:
    """May children be kept to their own files here? One tries, and ends."""
    return _tried(lambda: keep_to(folder, ()))


def _tried(what: Callable[[], bool]) -> bool:
    process = os.fork()
    if process == 0:
        os._exit(0 if what() else 1)
    return os.waitpid(process, 0)[1] == 0


def die_with(parent: int) -> None:
    """End when the service does, however that ends: what it left is begun anew at its next start (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
