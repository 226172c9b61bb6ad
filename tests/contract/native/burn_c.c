/* A C extension, for Python 2.7 and 3: see workload.py. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static volatile unsigned long sink;

__attribute__((noinline)) static void burn_leaf(long n)
{
    for (long i = 0; i < n; i++)
        sink += (unsigned long)i;
}

__attribute__((noinline)) static void burn_direct(long n)
{
    for (long i = 0; i < n; i++)
        sink ^= (unsigned long)i;
}

static PyObject *spin_leaf(PyObject *self, PyObject *args)
{
    long n;
    (void)self;
    if (!PyArg_ParseTuple(args, "l", &n))
        return NULL;
    burn_leaf(n);
    sink++;
    Py_RETURN_NONE;
}

static PyObject *spin_direct(PyObject *self, PyObject *args)
{
    long n;
    (void)self;
    if (!PyArg_ParseTuple(args, "l", &n))
        return NULL;
    burn_direct(n);
    sink++;
    Py_RETURN_NONE;
}

static PyObject *call_back(PyObject *self, PyObject *args)
{
    PyObject *function, *n;
    (void)self;
    if (!PyArg_ParseTuple(args, "OO", &function, &n))
        return NULL;
    PyObject *result = PyObject_CallFunctionObjArgs(function, n, NULL);
    sink++;
    return result;
}

static PyMethodDef methods[] = {
    {"spin_leaf", spin_leaf, METH_VARARGS, NULL},
    {"spin_direct", spin_direct, METH_VARARGS, NULL},
    {"call_back", call_back, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

#if PY_MAJOR_VERSION < 3
PyMODINIT_FUNC initburn_c(void)
{
    Py_InitModule("burn_c", methods);
}
#else
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "burn_c", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_burn_c(void)
{
    return PyModule_Create(&module);
}
#endif
