"""A target made to be misread: short calls, constructors, generators, callbacks, code objects that
share an address, threads that live for a millisecond. A comment `calls: a b` names every function
that its line can call; check.py reads them. Its one argument is the seconds it lives. What versions up to
2.7, or 3.4, cannot have stands in lines that end in `# 2.7: LINE`, `# 3.4: LINE`: check.py makes LINE of them."""
import sys
import threading
import time

clock = getattr(time, "monotonic", time.time)
END = clock() + float(sys.argv[1])


def leaf(n):
    x = n
    x += 1
    return x


def r5(n):
    return leaf(n)  # calls: leaf


def r4(n):
    a = r5(n)  # calls: r5
    return a + r5(n)  # calls: r5


def r3(n):
    return r4(n)  # calls: r4


def r2(n):
    return r3(n)  # calls: r3


def r1(n):
    return r2(n)  # calls: r2


def down(n):
    if n:
        return down(n - 1)  # calls: down
    return r1(n)  # calls: r1


class C(object):
    def __init__(self, v):
        self.v = v
        self.w = leaf(v)  # calls: leaf

    def method(self):
        return self.v


class D(C):
    def __init__(self, v):
        super(D, self).__init__(v)  # calls: C.__init__


def construct():
    a = C(1)  # calls: C.__init__
    b = D(2)  # calls: D.__init__
    return a.method() + b.method()  # calls: C.method


def numbers(n):
    for i in range(n):
        yield leaf(i)  # calls: leaf


def outer_numbers(n):
    yield from numbers(n)  # calls: numbers  # 2.7: for x in numbers(n): yield x


def generate():
    s = 0
    for x in numbers(3):  # calls: numbers
        s += x
    for x in outer_numbers(3):  # calls: outer_numbers
        s += x
    return s + sum(leaf(x) for x in (1, 2, 3))  # calls: generate.<locals>.<genexpr>  inside: leaf


def key(x):
    return leaf(-x)  # calls: leaf


def callback():
    sorted([3, 1, 2], key=key)  # calls: key
    sorted([3, 1, 2], key=lambda v: leaf(v))  # calls: callback.<locals>.<lambda>  inside: leaf
    return list(map(key, (1, 2)))  # calls: key


def helper_even():
    return leaf(0)  # calls: leaf


def helper_odd():
    return leaf(1)  # calls: leaf


COUNT = [0]


def execute():
    for _ in range(8):
        i = COUNT[0] % 500
        COUNT[0] += 1
        names = {"helper_even": helper_even, "helper_odd": helper_odd}
        text = "\n" * i + "def made_%d():\n    return helper_%s()\n" % (i, "odd" if i % 2 else "even")
        code = compile(text, "<made-%d>" % i, "exec")
        exec(code, names)  # calls: <module>
        names["made_%d" % i]()  # calls: made
        names["made_%d" % i]()  # calls: made
        del code, names


async def step(n):  # 3.4: def step(n):
    return leaf(n)  # calls: leaf


async def steps():  # 3.4: def steps():
    a = await step(1)  # calls: step  # 3.4: a = step(1)
    return a + await step(2)  # calls: step  # 3.4: yield a + step(2)


def drive():
    co = steps()  # calls: steps
    try:
        co.send(None)  # calls: steps
    except StopIteration:
        pass
    co.close()  # calls: steps


def work():
    down(4)  # calls: down
    construct()  # calls: construct
    generate()  # calls: generate
    callback()  # calls: callback
    drive()  # calls: drive


def short():
    for _ in range(20):
        work()  # calls: work


def one_round():
    for _ in range(2000):
        work()  # calls: work
    execute()  # calls: execute
    t = threading.Thread(target=short)  # calls: *
    t.start()  # calls: *
    t.join()  # calls: *
    del t  # calls: *


def main():
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while clock() < END:
        one_round()  # calls: one_round


main()  # calls: main
