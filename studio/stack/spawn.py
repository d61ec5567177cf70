"""Turns itself into a process of the stack: `python -I -S spawn.py ARGUMENTS -- COMMAND...`.

Runs in the child, between the fork and the program proper, what must be set there: that the child dies with its
supervisor, as whom it runs, and that only its own user may read what it writes. It is a program of its own rather than
a `preexec_fn`, because Python code between fork and exec can deadlock in a process that has threads (grpc has), and
because a preexec_fn makes every spawn a fork instead of a vfork. It costs about 10 ms, so it imports little.

Order matters: the kernel forgets the parent-death signal whenever a process changes its user, so that comes last, and a
supervisor that died before it was set is noticed by the changed parent.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 4
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_OWNER_ONLY = 0o077


def main(arguments: list[str]) -> None:
    """Applies `PARENT_PID ORPHAN_SIGNAL UID GID CROSSES_CLOSED_FOLDERS -- COMMAND...`.

    UID -1 keeps the user, ORPHAN_SIGNAL 0 sends nothing when the parent dies.
    """
    parent_pid, orphan_signal, uid, gid, crosses = (int(argument) for argument in arguments[:5])
    command = arguments[6:]
    os.umask(_OWNER_ONLY)
    if uid >= 0:
        _become(uid, gid, keep_file_access=bool(crosses))
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, orphan_signal)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)
    os.execv(command[0], command)  # noqa: S606 - replacing this process is the purpose


def _become(uid: int, gid: int, *, keep_file_access: bool) -> None:
    if keep_file_access:
        # Keeps the capabilities through the change of user. PR_SET_KEEPCAPS would do so too, but access(2), with which
        # initdb looks for its programs, ignores the capabilities of whoever isn't root unless this bit is set.
        _prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if keep_file_access:
        _limit_capabilities_to(_CAP_DAC_OVERRIDE)
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE)


def _limit_capabilities_to(capability: int) -> None:
    """Leaves one capability in the effective, permitted and inheritable sets; see capset(2) for the two structures."""
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    mask = 1 << capability
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _prctl(option: int, *values: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    padded = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    if libc.prctl(option, *padded) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")


if __name__ == "__main__":
    main(sys.argv[1:])
