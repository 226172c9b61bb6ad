// text.h - reads a Python str of a target as UTF-8. Inside of agent/python.
#pragma once
#include "agent/python/layout.h"
#include "agent/target/target.h"
#include "shared/base/buf.h"

enum { SPY_PY_TEXT_MAX = 4096 }; // characters; a longer str is cut and ends in U+2026

// Appends the str at addr, of any kind (ASCII, latin-1, UCS-2, UCS-4), compact or not. A lone
// surrogate, which UTF-8 cannot hold, becomes U+FFFD. SPY_ERR_TORN: there is no valid str.
int spy_py_text(const struct spy_target *t, const struct spy_py_layout *l, uint64_t addr,
                struct spy_buf *out);
