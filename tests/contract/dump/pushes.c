// A module that pushes frames of its own, as Nuitka's compiled functions do.
//     run(name, line, callable): calls callable() from a frame that is called name, at that line of
//     "compiled.py"
#define Py_BUILD_CORE_MODULE 1
#include <Python.h>
#include <frameobject.h>
#include <stddef.h>
#if PY_VERSION_HEX >= 0x030e0000
#include "internal/pycore_code.h"
#include "internal/pycore_frame.h"
#include "internal/pycore_interpframe.h"
#include "internal/pycore_stackref.h"
#elif PY_VERSION_HEX >= 0x030b0000
#include "internal/pycore_code.h"
#include "internal/pycore_frame.h"
#endif

enum { OWN = 6, LOCALS = 8, MANY = 1 << 20 };

#if PY_VERSION_HEX >= 0x030b0000
// What precedes the object is for the garbage collector, which does not know of it.
struct compiled {
    void *unknown[2];
    PyFrameObject object;
    void *own[OWN];
    _PyInterpreterFrame frame;
    void *locals[LOCALS];
};

static struct compiled *make(PyCodeObject *code, int line)
{
    struct compiled *c = calloc(1, sizeof *c);
    ((PyObject *)&c->object)->ob_refcnt = MANY;
    ((PyObject *)&c->object)->ob_type = &PyFrame_Type;
    c->object.f_frame = &c->frame;
    c->object.f_lineno = line;
    c->frame.frame_obj = &c->object;
    c->frame.owner = FRAME_OWNED_BY_GENERATOR;
#if PY_VERSION_HEX >= 0x030e0000
    c->frame.f_executable = PyStackRef_FromPyObjectNew((PyObject *)code);
    c->frame.stackpointer = c->frame.localsplus;
#elif PY_VERSION_HEX >= 0x030d0000
    c->frame.f_executable = (PyObject *)code;
#else
    c->frame.f_code = code;
#endif
#if PY_VERSION_HEX >= 0x030d0000
    c->frame.instr_ptr = _PyCode_CODE(code) + code->_co_firsttraceable + 1;
#else
    c->frame.prev_instr = _PyCode_CODE(code) + code->_co_firsttraceable;
#endif
    return c;
}

static _PyInterpreterFrame **current(PyThreadState *t)
{
#if PY_VERSION_HEX >= 0x030d0000
    return &t->current_frame;
#else
    return &t->cframe->current_frame;
#endif
}

static PyObject *call_from(PyCodeObject *code, int line, PyObject *callable)
{
    struct compiled *c = make(code, line);
    PyThreadState *t = PyThreadState_Get();
    c->frame.previous = *current(t);
    *current(t) = &c->frame;
    PyObject *r = PyObject_CallObject(callable, NULL);
    *current(t) = c->frame.previous;
    return r;
}
#else
static PyObject *call_from(PyCodeObject *code, int line, PyObject *callable)
{
    PyThreadState *t = PyThreadState_Get();
    PyFrameObject *f = PyFrame_New(t, code, PyEval_GetGlobals(), NULL);
    f->f_lineno = line;
#if PY_VERSION_HEX >= 0x030a0000
    f->f_state = FRAME_EXECUTING;
#elif PY_VERSION_HEX >= 0x03040000
    f->f_executing = 1;
#endif
    t->frame = f;
    PyObject *r = PyObject_CallObject(callable, NULL);
    t->frame = f->f_back;
    return r;
}
#endif

static PyObject *run(PyObject *self, PyObject *args)
{
    const char *name;
    int line;
    PyObject *callable;
    (void)self;
    if (!PyArg_ParseTuple(args, "siO", &name, &line, &callable))
        return NULL;
    return call_from(PyCode_NewEmpty("compiled.py", name, 1), line, callable);
}

static PyMethodDef methods[] = {{"run", run, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

#if PY_MAJOR_VERSION >= 3
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "pushes", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_pushes(void)
{
    return PyModule_Create(&module);
}
#else
PyMODINIT_FUNC initpushes(void)
{
    Py_InitModule("pushes", methods);
}
#endif
