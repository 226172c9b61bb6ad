// intern.h - the writer's side of the dictionaries: an entry of a profile -> its id in the store.
// Inside of store/sqlite.
//
// Ids are cached, so a window that resembles the previous one costs no SQL but its own two rows, and
// one look at the cache for each stack (digest.h). The memory is bounded: a full cache is emptied
// and filled again. Used under the writer's lock, inside of its transaction.
#pragma once
#include "collector/store/sqlite/digest.h"
#include "shared/base/err.h"
#include "shared/profile/profile.h"
#include <sqlite3.h>

enum {
    SPY_INTERN_MEMORY = 200 << 20, // the sum of the bounds below; they shrink with it
    SPY_INTERN_STACKS = 1 << 19,
    SPY_INTERN_DIGESTS = 1 << 19, // of stacks that samples have
    SPY_INTERN_ENTRIES = 1 << 18, // of each other table
    SPY_INTERN_STRING_BYTES = 32 << 20,
};

struct spy_intern;
int spy_intern_new(sqlite3 *db, size_t memory, struct spy_intern **ret, struct spy_err *err);
void spy_intern_free(struct spy_intern *t);

// Whether rows were added since the last spy_intern_mark. If so, a rollback to that point must be
// followed by spy_intern_forget.
void spy_intern_mark(struct spy_intern *t);
bool spy_intern_is_dirty(const struct spy_intern *t);
// Empties the cache: after a rollback, and after rows were deleted.
void spy_intern_forget(struct spy_intern *t);

// Begins with a profile, which must not change until the next begin. Rows that are asked for from
// here on are marked as seen in this slice of time.
int spy_intern_begin(struct spy_intern *t, const struct spy_profile *p, uint32_t slice,
                     struct spy_err *err);
// The profile's only series. SPY_ERR_LIMIT: there are max_series already.
int spy_intern_series(struct spy_intern *t, uint32_t max_series, int64_t *ret, struct spy_err *err);
// digests: of the profile's stacks.
int spy_intern_stack(struct spy_intern *t, uint32_t stack, const struct spy_digest *digests,
                     int64_t *ret, struct spy_err *err);
int spy_intern_thread(struct spy_intern *t, uint32_t thread, int64_t *ret, struct spy_err *err);
