"""The command `kzpcap`, and `python -m kzpcap`."""

from __future__ import annotations

import atexit
import gc

gc.set_threshold(100_000)
# Before the imports, in which half of all collections would happen. Neither what they make nor what is made for a
# connection has cycles: looking for them so often finds nothing.
atexit.register(gc.freeze)
# Python looks for cycles once more as it ends, in all that is left: 50 ms to free what the process gives back anyway.

from kzpcap.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
