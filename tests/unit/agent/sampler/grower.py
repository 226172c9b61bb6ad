"""Runs one function after the other, each with a name of its own: every sample has a new stack."""
import time

print("ready", flush=True)
for i in range(1 << 30):
    name = "function_with_a_long_name_%d" % i * 8
    exec("def %s(until):\n    while time.monotonic() < until: pass" % name, globals())
    globals().pop(name)(time.monotonic() + 0.002)
