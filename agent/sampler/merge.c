#include "agent/sampler/merge.h"
#include "shared/base/err.h"
#include <string.h>

// --- merging ---

struct merging {
    const struct spy_merge_native *native;
    size_t n_native, at_native;
    const struct spy_merge_python *python;
    size_t n_python, at_python;
    struct spy_merged *out;
    size_t n_out, n_shown;
};

static void put_native(struct merging *m, size_t until)
{
    bool is_below = m->n_python && m->at_python == m->n_python;
    for (; m->at_native < until; m->at_native++)
        if (m->native[m->at_native].role == SPY_MERGE_SHOWN ||
            (m->native[m->at_native].role == SPY_MERGE_NAMELESS && !is_below))
            m->out[m->n_out++] = (struct spy_merged){(uint32_t)m->at_native, true};
}

static void put_python(struct merging *m, size_t until)
{
    for (; m->at_python < until; m->at_python++)
        if (m->python[m->at_python].shown)
            m->out[m->n_out++] = (struct spy_merged){(uint32_t)m->n_shown++, false};
}

// The first native frame from here outwards that holds the address; n_native: none does.
static size_t find_holder(const struct merging *m, uint64_t addr)
{
    size_t i = m->at_native;
    while (i < m->n_native && !(m->native[i].low <= addr && addr < m->native[i].high))
        i++;
    return i;
}

static int merge_by_entries(struct merging *m)
{
    for (size_t i = 0; i < m->n_python; i++) {
        if (!m->python[i].is_entry)
            continue;
        size_t loop = find_holder(m, m->python[i].addr);
        if (loop == m->n_native)
            return SPY_ERR_TORN;
        put_native(m, loop);
        put_python(m, i);
        m->at_native = loop + 1;
        m->at_python = i + 1;
    }
    return m->at_python == m->n_python ? 0 : SPY_ERR_TORN;
}

static size_t count_loops(const struct merging *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_native; i++)
        n += m->native[i].role == SPY_MERGE_LOOP;
    return n;
}

static int merge_by_loops(struct merging *m)
{
    size_t n = count_loops(m);
    if (n != m->n_python && n != m->n_python + 1)
        return SPY_ERR_TORN;
    size_t early = n - m->n_python; // it has not linked its frame yet
    for (size_t i = 0; i < m->n_native; i++) {
        if (m->native[i].role != SPY_MERGE_LOOP)
            continue;
        put_native(m, i);
        if (early)
            early = 0;
        else
            put_python(m, m->at_python + 1);
        m->at_native = i + 1;
    }
    return 0;
}

int spy_merge(const struct spy_merge_native *native, size_t n_native,
              const struct spy_merge_python *python, size_t n_python, bool by_entry,
              struct spy_merged *out)
{
    struct merging m = {
        .native = native, .n_native = n_native, .python = python, .n_python = n_python, .out = out};
    int r = by_entry ? merge_by_entries(&m) : merge_by_loops(&m);
    if (r < 0)
        return r;
    put_native(&m, n_native);
    return (int)m.n_out;
}

// --- names ---

// The pattern is a name, or with a star the start of a name.
static bool is_like(const char *name, const char *pattern)
{
    size_t n = strcspn(pattern, "*");
    size_t len = strcspn(name, ".");
    return pattern[n] ? !strncmp(name, pattern, n) : len == n && !strncmp(name, pattern, n);
}

static bool is_in_list(const char *name, const char *const *patterns)
{
    for (; *patterns; patterns++)
        if (is_like(name, *patterns))
            return true;
    return false;
}

// How a thread of the system begins, in any file.
static const char *const beginnings[] = {
    "_start",
    "__libc_start_main*",
    "__libc_start_call_main",
    "__clone*",
    "clone",
    "clone3",
    "start_thread",
    "start",
    NULL,
};

// How the interpreter begins, runs code and gets from one Python frame to the next. What it does
// for a program (list.sort, str.join, an attribute's look-up ...) is shown.
static const char *const plumbing[] = {
    // running code
    "_PyEval_*",
    "PyEval_*",
    "_TAIL_CALL_*",
    "run_mod",
    "run_eval_code_obj",
    "builtin_exec",
    "builtin_eval",
    "builtin_execfile",
    "pyrun_*",
    "_PyRun_*",
    "PyRun_*",
    "pymain_*",
    "Py_RunMain",
    "Py_BytesMain",
    "Py_Main",
    "_Py_UnixMain",
    "RunMainFromImporter",
    "main",
    // calls
    "_PyFunction_*",
    "function_code_fastcall",
    "function_call",
    "fast_function",
    "call_function",
    "do_call",
    "do_call_core",
    "ext_do_call",
    "_PyObject_Call*",
    "PyObject_Call*",
    "_PyObject_FastCall*",
    "_PyObject_MakeTpCall*",
    "_PyObject_Vectorcall*",
    "PyObject_Vectorcall*",
    "_PyVectorcall_*",
    "_Py_VectorCall*",
    "PyVectorcall_*",
    "_PyCFunction_*",
    "PyCFunction_*",
    "_PyMethodDef_*",
    "_PyMethodDescr_*",
    "cfunction_*",
    "method_vectorcall*",
    "method_call",
    "methoddescr_call",
    "instancemethod_call",
    "instance_call",
    "wrapper_call",
    "wrapperdescr_*",
    "object_vacall",
    "type_call",
    "_PyCall_*",
    "_Py_BuiltinCallFast*",
    "_PyCallMethodDescriptor*",
    "call_method",
    "vectorcall_*",
    "lookup_maybe_method",
    "slot_*",
    "_PyStack_*",
    "_PyType_Call*",
    // generators
    "gen_send_ex*",
    "gen_iternext",
    "gen_send",
    "_gen_send*",
    "PyIter_Send",
    "PyGen_am_send",
    "async_gen_asend_*",
    "coro_wrapper_send",
    // threads
    "thread_run",
    "t_bootstrap",
    "pythread_wrapper",
    NULL,
};

enum spy_merge_role spy_merge_role_of(const char *name, bool in_interpreter, const char *loop)
{
    if (!name)
        return in_interpreter ? SPY_MERGE_HIDDEN : SPY_MERGE_NAMELESS;
    if (in_interpreter && is_like(name, loop))
        return SPY_MERGE_LOOP;
    bool hidden = is_in_list(name, beginnings) || !strncmp(name, "py::", 4) ||
                  (in_interpreter && is_in_list(name, plumbing));
    return hidden ? SPY_MERGE_HIDDEN : SPY_MERGE_SHOWN;
}
