// format.h - a profile as something that a person or a tool reads.
//
// A format is a struct spy_format: its names, its media type, and a function that prints a whole
// profile. It stands at the end of the format's own file, and print.h lists it; options, help
// texts, completions, error messages and the collector's headers follow from it.
//
// docs/formats.md describes the formats for users.
//
// Threads: pure functions over a profile that nobody changes meanwhile.
#pragma once
#include "shared/formats/view.h"

// A text that a document carries inside of an element: the text and what stands around it.
struct spy_embedded {
    const char *before, *text, *after;
};

struct spy_format {
    const char *name;       // as in format= and -f
    const char *alias;      // another name for it, py-spy's; or NULL
    const char *media_type; // Content-Type
    const char *extension;  // without the dot
    bool ordered;           // shows the order of the samples, if the view has a timeline
    // What a document for browsers runs and is styled by. The collector's Content-Security-Policy
    // allows exactly these, by their hashes. No text: the format has none, and none is allowed.
    struct spy_embedded script, style;
    // Appends the document to out. 0, SPY_ERR_LIMIT (out's cap, or the view's memory),
    // SPY_ERR_NOMEM, SPY_ERR_GONE (the view's stop).
    int (*print)(const struct spy_profile *p, const struct spy_view *v, struct spy_buf *out,
                 struct spy_err *err);
};

// By name or alias, in any case. NULL: there is no such format.
const struct spy_format *spy_format_find(const char *name);
// All formats, in the order of help texts. *ret_n is their number.
const struct spy_format *const *spy_format_list(size_t *ret_n);
// Every name that spy_format_find knows, separated by `between`. Cut at size; returns out.
const char *spy_format_names(char *out, size_t size, const char *between);

// A borrowed tail of filename for people: what follows the last "site-packages/", "dist-packages/"
// or "/lib/pythonX.Y/", else the last two components. Empty only if filename is.
const char *spy_short_filename(const char *filename);
