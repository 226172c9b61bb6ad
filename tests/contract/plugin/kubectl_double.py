"""kubectl as the plugin meets it, with a pod whose processes run on this machine: the tests link it as `kubectl`.

It knows what the plugin asks for, and runs what `exec` is given here, with the podspy of $PODSPY. The file $WORLD says
what there is, and how kubectl fails.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading

WORLD = json.load(open(os.environ["WORLD"]))
FORBIDDEN = ('Error from server (Forbidden): pods "agent-1" is forbidden: User "jane@example.org" cannot create resource '
             '"pods/exec" in API group "" in the namespace "podspy"')


def fail(text, status=1):
    print(text, file=sys.stderr)
    sys.exit(status)


def value_of(args, name):
    return args[args.index(name) + 1] if name in args else None


def get(args):
    if "-l" in args:
        print(json.dumps({"items": WORLD["agents"] if WORLD["node"] in value_of(args, "--field-selector") else []}))
    elif value_of(args, "pod") == WORLD["pod"]["metadata"]["name"]:
        print(json.dumps(WORLD["pod"]))


def run_inside(args):
    with open(WORLD["log"], "a") as log:
        print(json.dumps(args), file=log)
    if WORLD.get("fails") == "forbidden":
        fail(FORBIDDEN)
    command = args[args.index("--") + 1:]
    if "processes" in command:
        asked = [after for word, after in zip(command, command[1:]) if word == "--container"]
        text = json.dumps([p for p in WORLD["processes"] if p["container_id"] in asked]) + "\n"
        print(text, end="", flush=True)
        fail(f"podspy: {len(text)} bytes were sent", 0)
    if WORLD.get("fails") == "lost":
        fail("error: unable to upgrade connection: lost")
    done = subprocess.run([os.environ["PODSPY"], *command[1:]], stdin=None, stdout=subprocess.PIPE)
    sys.stdout.buffer.write(done.stdout[:-7] if WORLD.get("fails") == "cut" else done.stdout)
    sys.stdout.flush()
    if done.returncode:
        fail(f"command terminated with exit code {done.returncode}", done.returncode)


def relay(a, b):
    with contextlib.suppress(OSError):
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)


def forward():
    """From a free port to the collector of this machine, with a line for each connection, as kubectl has it."""
    server = socket.create_server(("127.0.0.1", 0))
    print(f"Forwarding from 127.0.0.1:{server.getsockname()[1]} -> 8080", flush=True)
    while True:
        client, _ = server.accept()
        print("Handling connection for 8080" + " " * 1000, flush=True)
        there = socket.create_connection(("127.0.0.1", WORLD["collector"]))
        for pair in ((client, there), (there, client)):
            threading.Thread(target=relay, args=pair, daemon=True).start()


def main():
    args = sys.argv[1:]
    if "port-forward" in args:
        forward()
    elif "exec" in args:
        run_inside(args)
    elif "get" in args:
        get(args)
    elif "config" in args:
        print("shop", end="")
    else:
        fail(f"the double knows no {args}")


main()
