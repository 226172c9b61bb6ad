// split.h - cuts a list of the Kubernetes API into its items while it arrives. Inside of
// agent/discover.
//
// A list of a hundred pods is megabytes, and several times that as a JSON tree; a single item is
// small. The splitter recognizes strings, brackets and the key "items" of the outermost object; the
// caller checks that the pieces are JSON.
#pragma once
#include "shared/base/buf.h"
#include <stdbool.h>
#include <stddef.h>

enum { SPY_SPLIT_ITEM = 2 << 20, SPY_SPLIT_HEAD = 64 << 10 };

typedef void (*spy_split_fn)(void *arg, const char *item, size_t len);

struct spy_split {
    spy_split_fn fn;
    void *arg;
    struct spy_buf item; // the item under way
    struct spy_buf head; // the list without its items: {"metadata":{...},"items":[]}
    size_t depth;        // of open brackets
    bool quoted, escaped, items;
    size_t skipped; // items of more than SPY_SPLIT_ITEM bytes
};

void spy_split_init(struct spy_split *s, spy_split_fn fn, void *arg);
void spy_split_free(struct spy_split *s);
// Cuts the next bytes. 0, or the failure of head. fn is called for each item that ends in them.
int spy_split_feed(struct spy_split *s, const char *data, size_t len);
