"""What the programs beside this file do in their endpoints, tasks and jobs: CPU time in known proportions.

heavy burns twice what light burns, and both are asked for equally often.
"""

import time

LIGHT, HEAVY = 0.02, 0.04  # seconds of CPU


def burn(seconds):
    end = time.thread_time() + seconds
    n = 0
    while time.thread_time() < end:
        for i in range(200):
            n += i
    return n
