"""Irrevocably restricting this process: no network, no other programs, no writing, bounded memory.

On Linux this uses an empty network namespace and a seccomp filter that denies the system calls. On every system it uses
resource limits, and an audit hook that denies the same operations in Python. Files that are already open can still be
read and written.
"""

import ctypes
import os
import platform
import resource
import struct
import sys
from pathlib import Path
from typing import NamedTuple

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CLONE_THREAD = 0x00010000
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2

# Classic BPF: the codes of the instructions that we use. Offsets are those of `struct seccomp_data`.
_LOAD = 0x20
_JUMP_EQUAL = 0x15
_JUMP_AT_LEAST = 0x35
_JUMP_ANY_BIT = 0x45
_RETURN = 0x06
_NUMBER = 0
_ARCHITECTURE = 4
_ARGUMENTS = 16  # 8 bytes each, the low half first
_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_ERRNO = 0x00050000
_EPERM = 1
_ENOSYS = 38
_FOREIGN_ABI = 0x40000000  # set in x86's x32 calls

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class _Calls(NamedTuple):
    """Numbers of system calls on one architecture; the second argument of `open`, if it exists, is its flags."""

    architecture: int
    clone: int
    openat: int
    open: int | None
    refused: tuple[int, ...]


# io_uring, openat2, pidfd_getfd and fchmodat2 have the same numbers everywhere, as all calls since Linux 5.1 do.
_EVERYWHERE = (425, 426, 427, 437, 438, 452)
_CLONE3 = 435  # fails as unknown, so that the C library falls back to clone
_CALLS = {
    # socket connect accept sendto sendmsg bind listen socketpair · fork vfork execve kill · truncate rename mkdir rmdir
    # creat link unlink symlink chmod fchmod chown · ptrace mknod mount setxattr · mkdirat mknodat fchownat unlinkat
    # renameat linkat symlinkat fchmodat · open_by_handle_at process_vm_readv process_vm_writev renameat2 bpf execveat
    "x86_64": _Calls(
        0xC000003E,
        clone=56,
        openat=257,
        open=2,
        refused=(
            *(41, 42, 43, 44, 46, 49, 50, 53, 57, 58, 59, 62, 76, 82, 83, 84, 85, 86, 87, 88, 90, 91, 92),
            *(101, 133, 165, 188, 258, 259, 260, 263, 264, 265, 266, 268, 304, 310, 311, 316, 321, 322, *_EVERYWHERE),
        ),
    ),
    # setxattr mknodat mkdirat unlinkat symlinkat linkat renameat mount truncate fchmod fchmodat fchownat · ptrace kill
    # socket socketpair bind listen accept connect sendto sendmsg execve · open_by_handle_at process_vm_readv
    # process_vm_writev renameat2 bpf execveat
    "aarch64": _Calls(
        0xC00000B7,
        clone=220,
        openat=56,
        open=None,
        refused=(
            *(5, 33, 34, 35, 36, 37, 38, 40, 45, 52, 53, 54, 117, 129),
            *(198, 199, 200, 201, 202, 203, 206, 211, 221, 265, 270, 271, 276, 280, 281, *_EVERYWHERE),
        ),
    ),
}

_REFUSED_EVENTS = (
    "socket.",
    "subprocess.",
    "ctypes.",
    "shutil.",
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.startfile", "os.kill", "pty.spawn"),
    *("os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate"),
)


def leave_network() -> bool:
    """Enter an empty network namespace; return False if the system refuses. Must be called with a single thread.

    >>> import subprocess
    >>> code = "from cutaway.checkpoints import sandbox; print(sandbox.leave_network() in (True, False))"
    >>> subprocess.run([sys.executable, "-c", code], capture_output=True).stdout.decode().strip()
    'True'
    """
    if sys.platform != "linux":
        return False
    unshare = getattr(ctypes.CDLL(None), "unshare", None)
    return unshare is not None and unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0


def limit_resources(memory: int, seconds: int, file_bytes: int) -> None:
    """Limit address space (bytes beyond what is in use now), processor time, and file size.

    >>> import subprocess
    >>> code = "from cutaway.checkpoints import sandbox; sandbox.limit_resources(1 << 30, 60, 1000); print('limited')"
    >>> subprocess.run([sys.executable, "-c", code], capture_output=True).stdout.decode().strip()
    'limited'
    """
    statm = Path("/proc/self/statm")
    if statm.exists():
        mapped = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory, mapped + memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def give_up_rights() -> bool:
    """Deny network, other programs and changes to files from now on; return True if the kernel enforces it too.

    >>> import subprocess
    >>> code = "from cutaway.checkpoints import sandbox; sandbox.give_up_rights(); open('new', 'w')"
    >>> "PermissionError" in subprocess.run([sys.executable, "-c", code], capture_output=True).stderr.decode()
    True
    """
    enforced = _install_seccomp()  # first, because the hook denies ctypes
    sys.addaudithook(_refuse)
    return enforced


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open":
        flags = arguments[2]
        if isinstance(flags, int) and flags & _WRITING:
            raise PermissionError(f"not allowed: open {arguments[0]!r:.60} for writing")
    elif event.startswith(_REFUSED_EVENTS):
        raise PermissionError(f"not allowed: {event}")


def _install_seccomp() -> bool:
    calls = _CALLS.get(platform.machine()) if sys.platform == "linux" else None
    if calls is None:
        return False
    program = _filter(calls)
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *instruction) for instruction in program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None).prctl
    zero = ctypes.c_ulong(0)
    if prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero):
        return False
    installed: int = prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), header, zero, zero)
    return installed == 0


def _filter(calls: _Calls) -> list[tuple[int, int, int, int]]:
    """Build the instructions (code, skip if true, skip if false, operand) that allow or deny a system call."""
    refuse = (_RETURN, 0, 0, _ERRNO | _EPERM)
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, calls.architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_AT_LEAST, 0, 1, _FOREIGN_ABI),
        refuse,
    ]
    for number in calls.refused:
        program += [(_JUMP_EQUAL, 0, 1, number), refuse]
    program += [(_JUMP_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ERRNO | _ENOSYS)]
    program += _by_argument(calls.clone, 0, _CLONE_THREAD, if_set=_ALLOW, if_clear=_ERRNO | _EPERM)
    program += _by_argument(calls.openat, 2, _WRITING, if_set=_ERRNO | _EPERM, if_clear=_ALLOW)
    if calls.open is not None:
        program += _by_argument(calls.open, 1, _WRITING, if_set=_ERRNO | _EPERM, if_clear=_ALLOW)
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _by_argument(
    number: int, argument: int, bits: int, *, if_set: int, if_clear: int
) -> list[tuple[int, int, int, int]]:
    """Allow or deny one call depending on bits of an argument."""
    return [
        (_JUMP_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _ARGUMENTS + 8 * argument),
        (_JUMP_ANY_BIT, 0, 1, bits),
        (_RETURN, 0, 0, if_set),
        (_RETURN, 0, 0, if_clear),
    ]
