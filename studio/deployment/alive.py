"""Asks a process of this container whether it takes calls: `python -m studio.deployment.alive PORT`, for container engines."""

import sys
import urllib.request

_SECONDS = 4.0

if __name__ == "__main__":
    # Fails with a trace, and so with exit code 1, for anything but a success.
    urllib.request.urlopen(f"http://127.0.0.1:{int(sys.argv[1])}/readyz", timeout=_SECONDS).close()
