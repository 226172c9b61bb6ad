"""A target whose main thread runs a subinterpreter that holds still; prints what both say of their
own frames, as two lines of JSON, or "none" where this interpreter cannot make another. With the word
"busy" it works in there."""
import functools
import sys


def runner():
    try:
        import _interpreters as interpreters  # 3.13+
    except ImportError:
        try:
            import _xxsubinterpreters as interpreters  # 3.8+
        except ImportError:
            try:
                from _testcapi import run_in_subinterp
                return run_in_subinterp
            except ImportError:
                return None
    i = interpreters.create()
    return functools.partial(interpreters.run_string, i)


SAY = """
import json, sys, time
def say(frame):
    out = []
    while frame:
        code = frame.f_code
        out.append([getattr(code, "co_qualname", code.co_name), code.co_filename, frame.f_lineno])
        frame = frame.f_back
    sys.stdout.write(json.dumps(out) + "\\n")
    sys.stdout.flush()
"""
INSIDE = SAY + """
def inside():
    say(sys._getframe()); time.sleep(600)
inside()
"""
if "busy" in sys.argv:
    INSIDE = INSIDE.replace("time.sleep(600)", "[0 for _ in iter(int, 1)]")
scope = {}
exec(SAY, scope)
say = scope["say"]
run = runner()


def outside():
    say(sys._getframe()); run(INSIDE)


if run:
    outside()
else:
    print("none")
