"""kubectl as the plugin meets it, with a pod whose processes run on this machine: the tests link it as `kubectl`.

It knows what the plugin asks for, and runs what `exec` is given here, with the podspy of $PODSPY. The file $WORLD says
what there is, and how kubectl fails.
"""

import json
import os
import subprocess
import sys

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


def main():
    args = sys.argv[1:]
    if "exec" in args:
        run_inside(args)
    elif "get" in args:
        get(args)
    elif "config" in args:
        print("shop", end="")
    else:
        fail(f"the double knows no {args}")


main()
