"""Memory that a tensor has left is there for the next one without the kernel, in whatever thread."""

import subprocess
import sys

_TOUCH_THRICE = """
import ctypes, resource, sys, threading
from gpu_worker.render.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
faults = []
def touch():
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        block = libc.malloc(200 << 20)
        libc.memset(block, 1, 200 << 20)
        libc.free(block)
        faults.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)
thread = threading.Thread(target=touch)
thread.start()
thread.join()
print(faults[-1])
"""
_PAGES = (200 << 20) // 4096


def _faults_of_third_block(mode: str) -> int:
    """Returns how often a thread waited for a page while it filled a block for the third time, the others freed."""
    output = subprocess.run(
        [sys.executable, "-c", _TOUCH_THRICE, mode], capture_output=True, text=True, check=True, timeout=60
    )
    return int(output.stdout.splitlines()[-1])


def test_freed_memory_is_used_again_without_page_faults() -> None:
    assert _faults_of_third_block("kept") < _PAGES / 100


def test_without_it_the_c_library_gives_the_memory_back() -> None:
    """What the setting is for; if this fails, the C library has changed and the setting can go."""
    assert _faults_of_third_block("as it is") > _PAGES / 100
