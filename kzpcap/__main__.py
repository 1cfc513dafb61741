"""The command `kzpcap`, and `python -m kzpcap`."""

from __future__ import annotations

import gc

gc.set_threshold(100_000)
# Before the imports, in which half of all collections would happen. Neither what they make nor what is made for a
# connection has cycles: looking for them so often finds nothing.

from kzpcap.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
