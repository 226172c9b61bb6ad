"""An ordinary program of short calls: each lasts about a microsecond."""
import sys


def leaf_x():
    return sum(range(40))


def leaf_y():
    return sum(range(40))


def warm_x():
    return leaf_x()  # calls: leaf_x


def warm_y():
    return leaf_y()  # calls: leaf_y


def loop():
    while True:
        warm_x()  # calls: warm_x
        warm_y()  # calls: warm_y


sys.stdout.write("ready\n")
sys.stdout.flush()
loop()  # calls: loop
