// entry_table.h - the dispatchers of known frameworks, a row each. Inside of collector/query.
//
// A dispatcher is the function of a framework that calls what the service's authors wrote: a view, a
// handler, a task. Rows name functions as code objects do, without their class, and modules by their
// last components: the folder that a package stands in does not matter. Pure functions.
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum spy_entry_kind {
    SPY_ENTRY_APP,      // a whole WSGI or ASGI application
    SPY_ENTRY_ENDPOINT, // what answers a request
    SPY_ENTRY_TASK,     // of a task queue
    SPY_ENTRY_JOB,      // of a job queue
    SPY_ENTRY_OWN,      // called by a dispatcher of the collector's configuration
    SPY_ENTRY_KINDS
};
extern const char *const spy_entry_kind_names[SPY_ENTRY_KINDS];

struct spy_dispatcher {
    const char *framework; // "django"
    enum spy_entry_kind kind;
    const char *module;   // "django.core.handlers.base"; "a.b.*": all below a.b
    const char *function; // "_get_response"
};
extern const struct spy_dispatcher spy_dispatchers[]; // ends with a row without a framework

// The dotted module of a file, as far as its path names it: what follows site-packages,
// dist-packages or lib/pythonX.Y, else the whole path. Cut to size. "" for a file without a name.
enum { SPY_ENTRY_MODULE_MAX = 512 };
void spy_entry_module(const char *filename, char *out, size_t size);
// The part of a qualified name after its last dot.
const char *spy_entry_last_name(const char *name);
// Whether the module is the row's, whatever stands before it; before a row without a dot, nothing may.
bool spy_entry_is_module(const char *row, const char *module);
// The row of this function, or NULL.
const struct spy_dispatcher *spy_entry_dispatcher(const char *module, const char *name);
// What a function that a dispatcher calls may be on the way to the entry.
enum spy_entry_way {
    SPY_ENTRY_WAY_OWN,       // none of these: the entry
    SPY_ENTRY_WAY_SERVER,    // a WSGI or ASGI server's: not the application
    SPY_ENTRY_WAY_FRAMEWORK, // a framework's own: it may be a whole application
    SPY_ENTRY_WAY_LIBRARY,   // Python's standard library
};
enum spy_entry_way spy_entry_way(const char *module, const char *filename);
