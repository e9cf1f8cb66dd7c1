"""A program that knows nothing of channels and ports.

usage: idle.py [--ignore-term]
"""

import signal
import sys

if "--ignore-term" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    signal.pause()
