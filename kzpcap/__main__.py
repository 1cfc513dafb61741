"""python -m kzpcap."""

from kzpcap.cli import main

main()
