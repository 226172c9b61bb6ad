// version.h - finds the version of an interpreter that does not publish it. Inside of agent/python.
#pragma once
#include "agent/target/symbols.h"

// Searches mod's read-only mappings for a text that ends in "X.Y.Z", where X.Y is in the file's
// name: the constant PY_VERSION (Include/patchlevel.h), which every interpreter holds for
// Py_GetVersion(). Reads at most 64 MiB. Returns whether it was found.
bool spy_py_version_text(const struct spy_target *t, const struct spy_maps *maps,
                         const struct spy_module *mod, char *out, size_t size);
