"""The same with numpy: sorting and sines."""
import numpy

ROW = numpy.random.RandomState(1).rand(20000)


def spin_leaf(n):
    for _ in range(n // 1000):
        numpy.sort(ROW)


def spin_direct(n):
    for _ in range(n // 1000):
        numpy.sin(ROW)


def call_back(function, n):
    return numpy.apply_along_axis(lambda row: function(n), 0, ROW[:1])
