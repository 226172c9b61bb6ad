"""A program that stands still in a chain of functions with known variables, and says what repr() makes of
each. One line of JSON: for every function its variables in the interpreter's order, each with its name, its
text, and whether it is an argument, a cell or a free variable. Runs on every Python from 2.7."""
import collections
import json
import random
import struct
import sys
import time

SAID = {}


class PlainList(list):
    """Without a __repr__ of its own."""


def variables(frame):
    code = frame.f_code
    n = code.co_argcount + getattr(code, "co_kwonlyargcount", 0) + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    names = list(code.co_varnames)
    names += [c for c in code.co_cellvars if c not in names] + list(code.co_freevars)
    return [[name, repr(frame.f_locals[name]), name in code.co_varnames[:n], name in code.co_cellvars,
             name in code.co_freevars] for name in names if name in frame.f_locals]


def call_next(then, *_):
    """Callers also pass locals(), so that no checker takes their variables for unused."""
    frame = sys._getframe(1)
    SAID[frame.f_code.co_name] = variables(frame)
    if then:
        then[0](then[1:])
    print(json.dumps(SAID))
    sys.stdout.flush()
    time.sleep(600)


def constants(then):
    none, yes, no, dots, unbound = None, True, False, Ellipsis, 1
    del unbound
    call_next(then, locals())


def integers(then):
    zero, one, minus, small, limb, wide = 0, 1, -1, 256, (1 << 30) - 1, 1 << 30
    word, beyond, negative = (1 << 63) - 1, 1 << 64, -(1 << 90) + 1
    hundred_digits, near_the_limit = 7 ** 118, -3 ** 8900 // 7
    many = [random.randrange(-2 ** n, 2 ** n) for n in range(1, 130)]
    call_next(then, locals())


def floats(then):
    zero, minus_zero, whole, tenth, third = 0.0, -0.0, 3.0, 0.1, 1 / 3.0
    first_exponent, last_fixed, first_large, last_large = 1e-5, 1e-4, 1e16, 9999999999999998.0
    tiny, least, most, infinite, minus_infinite, nan = 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, \
        float("inf"), -float("inf"), float("nan")
    powers = [2.0 ** n for n in range(-160, 0)]
    more_powers = [2.0 ** n for n in range(-1074, -900)]
    any_bits = [struct.unpack("d", struct.pack("Q", random.getrandbits(64)))[0] for _ in range(150)]
    decimals = [round(random.uniform(-1000, 1000), n % 7) for n in range(250)]
    complexes = [1 + 2j, 3j, -1.5 - 0.5j, complex(0.0, -1), complex("nan"), complex("inf"), complex(-0.0, 2), 1e20 + 1j]
    call_next(then, locals())


def strings(then):
    empty, plain, quote, both, escapes = "", "text", "it's", "it's \"both\"", "a\n\r\t\\\0\x1b\x7f"
    latin, wide, astral, wide_quote = u"na\xefve \xa0\xad", u"\u20ac\u2028 \u202eabc", u"\U0001f600 \U0001f600x", u"\u20ac'"
    long_plain, long_wide, long_astral = "x" * 5000, u"\u20ac" * 300, u"\U0001f600" * 300
    just_fits, one_more = "y" * 126, "y" * 127
    data, data_quote, data_all, data_empty = b"bytes\x00\xff", b"it's", bytes(bytearray(range(256))), b""
    array = bytearray(b"bytes \x00\xff")
    del array[:2]
    if sys.version_info[0] == 2:
        del array
    else:
        surrogates = "a\udcffb\ud800"
    call_next(then, locals())


def sequences(then):
    empty_list, empty_tuple, one, nested = [], (), (1,), [1, (2, [3, (4,)]), [[[[]]]]]
    numbers, long_list, strings = list(range(30)), list(range(100000)), ["a", u"\xe9", b"b"]
    inside_itself = [1]
    inside_itself.append(inside_itself)
    inside_both = ([],)
    inside_both[0].append(inside_both)
    queue, bounded, empty_queue = collections.deque(range(200)), collections.deque("abc", 5), collections.deque()
    turned = collections.deque(range(100))
    turned.rotate(37)
    piece, subclass = slice(1, None, "x"), PlainList([1, 2])
    if sys.version_info[0] == 3:
        span, stepped, backwards = range(10), range(1, 20, 3), range(10, 0, -1)
    call_next(then, locals())


def tables(then):
    empty, small, mixed = {}, {"a": 1, "b": [2]}, {1: "x", (2, 3): None, None: {}}
    large = dict((n * 7919, str(n)) for n in range(2000))
    holes = dict((str(n), n) for n in range(40))
    for n in range(0, 40, 3):
        del holes[str(n)]
    inside_itself = {}
    inside_itself["me"] = inside_itself
    plain_set, empty_set, frozen = set([1, "a", None]), set(), frozenset([2, 3])
    large_set, thinned = set(range(0, 3000, 7)), set(map(str, range(60)))
    for n in range(0, 60, 2):
        thinned.discard(str(n))
    if sys.version_info >= (3, 15):
        frozen_dict = __builtins__.frozendict({"a": 1, "b": [2]})
    if sys.version_info >= (3, 5):
        ordered = collections.OrderedDict([("z", 1), ("a", [2])])
    call_next(then, locals())


Point = collections.namedtuple("Point", "x y")


class Named(Point):
    """A base class has its fields, and up to 3.4 the name that its repr() shows."""


def classes(then):
    point = Point(1, [2])
    if sys.version_info >= (3, 5):
        named = Named(1, [2])
    of_interpreter = [int, dict, type, ValueError]
    error, two, none = ValueError("bad"), KeyError("a", 1), RuntimeError()
    if sys.version_info >= (3, 6):
        of_code, inner, enum_class = Named, Outer.Inner, Outer.Colour
    call_next(then, locals())


class Outer(object):
    class Inner(object):
        pass

    if sys.version_info >= (3, 6):
        import enum
        Colour = enum.Enum("Colour", "RED")


def arguments(then, second=2, *rest, **named):
    call_next(then, locals())


def call_with_arguments(then):
    def passed(given, shared):
        shared += given

        def inner(then, only=None):
            local = shared
            call_next(then, locals())

        shared = shared * 2
        SAID["passed"] = variables(sys._getframe())
        inner(then)

    SAID["call_with_arguments"] = variables(sys._getframe())
    passed(1, 20)


def spread(then):
    arguments(then, 3, 4, 5, key="value", other=[1])


def generator(then):
    shown = "in a generator"
    for number in [1]:
        call_next(then, locals())
        yield number


def run_generator(then):
    list(generator(then))


FUNCTIONS = [constants, integers, floats, strings, sequences, tables, classes, spread, call_with_arguments,
             run_generator]
if sys.version_info[0] == 3:
    scope = {"call_next": call_next}
    exec("def keywords(a, *, b=2, c, **d):\n    local = [a, b]\n    call_next(c)\n"
         "def run_keywords(then):\n    keywords(1, c=then, e=5)\n", scope)
    FUNCTIONS.append(scope["run_keywords"])
if sys.version_info >= (3, 8):
    exec("def positional(a, /, b, *, c):\n    call_next(c)\n"
         "def run_positional(then):\n    positional(1, 2, c=then)\n", scope)
    FUNCTIONS.append(scope["run_positional"])
FUNCTIONS[0](FUNCTIONS[1:])
