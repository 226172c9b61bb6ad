// The same in C++: templates, classes, and exceptions in flight.
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdexcept>

namespace shapes {

volatile unsigned long sink;

template <typename T> class Spinner
{
  public:
    __attribute__((noinline)) void spin_leaf(T n)
    {
        for (T i = 0; i < n; i++)
            sink += static_cast<unsigned long>(i);
    }
    __attribute__((noinline)) void spin_direct(T n);
};

__attribute__((noinline)) void throw_at(long i)
{
    if (i >= 0)
        throw std::runtime_error("in flight");
}

template <typename T> void Spinner<T>::spin_direct(T n)
{
    for (T i = 0; i < n / 1000; i++)
        try {
            throw_at(i);
        } catch (const std::runtime_error &) {
            sink++;
        }
}

} // namespace shapes

static shapes::Spinner<long> spinner;

static PyObject *spin_leaf(PyObject *, PyObject *args)
{
    long n;
    if (!PyArg_ParseTuple(args, "l", &n))
        return nullptr;
    spinner.spin_leaf(n);
    shapes::sink++;
    Py_RETURN_NONE;
}

static PyObject *spin_direct(PyObject *, PyObject *args)
{
    long n;
    if (!PyArg_ParseTuple(args, "l", &n))
        return nullptr;
    spinner.spin_direct(n);
    shapes::sink++;
    Py_RETURN_NONE;
}

static PyObject *call_back(PyObject *, PyObject *args)
{
    PyObject *function, *n;
    if (!PyArg_ParseTuple(args, "OO", &function, &n))
        return nullptr;
    PyObject *result = PyObject_CallFunctionObjArgs(function, n, nullptr);
    shapes::sink++;
    return result;
}

static PyMethodDef methods[] = {
    {"spin_leaf", spin_leaf, METH_VARARGS, nullptr},
    {"spin_direct", spin_direct, METH_VARARGS, nullptr},
    {"call_back", call_back, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "burn_cpp", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};

PyMODINIT_FUNC PyInit_burn_cpp(void)
{
    return PyModule_Create(&module);
}
