"""A target whose main thread runs a subinterpreter that holds still."""
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

TEXT = """
import sys, time
def inside():
    print('ready', flush=True)
    time.sleep(600)
inside()
"""


def outside():
    i = interpreters.create()
    interpreters.run_string(i, TEXT)


outside()
