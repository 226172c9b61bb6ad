#include "collector/store/sqlite/intern.h"
#include "collector/store/sqlite/db.h"
#include "collector/store/sqlite/idmap.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

enum { FUNCTIONS, FRAMES, STACKS, THREADS, N_KEYED }; // found by numbers
enum { STRINGS, SERIES, N_TEXTS };                    // found by a text
enum { LABELS_JSON_MAX = 64 << 10, COLUMNS_MAX = 5 };

// find: the id and, where the row has it, seen. The columns of add are those of find and then seen.
struct sql {
    const char *find, *add, *touch;
};
static const struct sql keyed_sql[N_KEYED] = {
    [FUNCTIONS] = {"SELECT id FROM functions WHERE name=? AND filename=? AND start_line=? AND "
                   "kind=?",
                   "INSERT INTO functions(name, filename, start_line, kind) VALUES(?,?,?,?)", NULL},
    [FRAMES] = {"SELECT id FROM frames WHERE function=? AND line=?",
                "INSERT INTO frames(function, line) VALUES(?,?)", NULL},
    [STACKS] = {"SELECT id, seen FROM stacks WHERE parent=? AND frame=?",
                "INSERT INTO stacks(parent, frame, seen) VALUES(?,?,?)",
                "UPDATE stacks SET seen=?2 WHERE id=?1"},
    [THREADS] = {"SELECT id, seen FROM threads WHERE tid=? AND name=?",
                 "INSERT INTO threads(tid, name, seen) VALUES(?,?,?)",
                 "UPDATE threads SET seen=?2 WHERE id=?1"},
};
static const struct sql text_sql[N_TEXTS] = {
    [STRINGS] = {"SELECT id FROM strings WHERE text=?", "INSERT INTO strings(text) VALUES(?)",
                 NULL},
    [SERIES] = {"SELECT id, seen FROM series WHERE labels=?",
                "INSERT INTO series(labels, seen) VALUES(?,?)",
                "UPDATE series SET seen=?2 WHERE id=?1"},
};

struct statements {
    sqlite3_stmt *find, *add, *touch;
};

struct known {
    int64_t id; // 0: not known yet
    uint32_t seen;
};

// The cached texts. A profile serves as the interning table; `of` is indexed by its string ids.
struct texts {
    struct spy_profile *interned;
    struct known *of;
    size_t cap;
};

struct spy_intern {
    sqlite3 *db;
    struct statements keyed[N_KEYED], text[N_TEXTS];
    sqlite3_stmt *add_label;
    struct spy_idmap maps[N_KEYED];
    struct spy_idmap digests; // the stacks of samples
    struct texts texts[N_TEXTS];
    struct spy_profile_caps caps; // of each
    struct known not_remembered;  // for a text that is too long for the cache
    int64_t n_series;             // rows; -1: to be counted
    bool dirty;

    const struct spy_profile *p;
    uint32_t slice;
    // id of the store by id of p, 0: not asked yet; in one block
    int64_t *strings, *functions, *frames, *stacks, *threads;
    int64_t *block;
    size_t block_cap;
};

static int prepare_statements(struct spy_intern *t, const struct sql *sql, struct statements *ret,
                              struct spy_err *err)
{
    int r = spy_db_prepare(t->db, sql->find, &ret->find, err);
    if (r == 0)
        r = spy_db_prepare(t->db, sql->add, &ret->add, err);
    if (r == 0 && sql->touch)
        r = spy_db_prepare(t->db, sql->touch, &ret->touch, err);
    return r;
}

static void finalize_statements(struct statements *s)
{
    sqlite3_finalize(s->find);
    sqlite3_finalize(s->add);
    sqlite3_finalize(s->touch);
}

static uint32_t scale_bound(uint32_t most, size_t memory)
{
    uint64_t n = (uint64_t)most * spy_min(memory, SPY_INTERN_MEMORY) / SPY_INTERN_MEMORY;
    return n > 1024 ? (uint32_t)n : 1024;
}

int spy_intern_new(sqlite3 *db, size_t memory, struct spy_intern **ret, struct spy_err *err)
{
    struct spy_intern *t = calloc(1, sizeof *t);
    if (!t)
        return spy_err_nomem(err);
    t->db = db;
    t->n_series = -1;
    t->caps =
        (struct spy_profile_caps){.strings = scale_bound(SPY_INTERN_ENTRIES, memory),
                                  .string_bytes = scale_bound(SPY_INTERN_STRING_BYTES, memory)};
    int r = spy_db_prepare(db, "INSERT INTO labels(series, key, value) VALUES(?,?,?)",
                           &t->add_label, err);
    for (int i = 0; i < N_KEYED && r == 0; i++) {
        t->maps[i].max = scale_bound(i == STACKS ? SPY_INTERN_STACKS : SPY_INTERN_ENTRIES, memory);
        r = prepare_statements(t, &keyed_sql[i], &t->keyed[i], err);
    }
    t->digests.max = scale_bound(SPY_INTERN_DIGESTS, memory);
    for (int i = 0; i < N_TEXTS && r == 0; i++)
        r = prepare_statements(t, &text_sql[i], &t->text[i], err);
    if (r < 0) {
        spy_intern_free(t);
        return r;
    }
    *ret = t;
    return 0;
}

void spy_intern_free(struct spy_intern *t)
{
    if (!t)
        return;
    for (int i = 0; i < N_KEYED; i++) {
        finalize_statements(&t->keyed[i]);
        spy_idmap_free(&t->maps[i]);
    }
    for (int i = 0; i < N_TEXTS; i++) {
        finalize_statements(&t->text[i]);
        spy_profile_free(t->texts[i].interned);
        free(t->texts[i].of);
    }
    spy_idmap_free(&t->digests);
    sqlite3_finalize(t->add_label);
    free(t->block);
    free(t);
}

void spy_intern_mark(struct spy_intern *t)
{
    t->dirty = false;
}

bool spy_intern_is_dirty(const struct spy_intern *t)
{
    return t->dirty;
}

void spy_intern_forget(struct spy_intern *t)
{
    for (int i = 0; i < N_KEYED; i++)
        spy_idmap_clear(&t->maps[i]);
    spy_idmap_clear(&t->digests);
    for (int i = 0; i < N_TEXTS; i++) {
        spy_profile_free(t->texts[i].interned);
        t->texts[i].interned = NULL;
    }
    t->n_series = -1;
    t->dirty = false;
}

int spy_intern_begin(struct spy_intern *t, const struct spy_profile *p, uint32_t slice,
                     struct spy_err *err)
{
    const size_t sizes[] = {spy_profile_n_strings(p), spy_profile_n_functions(p),
                            spy_profile_n_frames(p), spy_profile_n_stacks(p),
                            spy_profile_n_threads(p)};
    int64_t **const arrays[] = {&t->strings, &t->functions, &t->frames, &t->stacks, &t->threads};
    size_t total = 0;
    for (size_t i = 0; i < SPY_COUNT(sizes); i++)
        total += sizes[i];
    int r = spy_grow(&t->block, &t->block_cap, total, sizeof *t->block, SIZE_MAX / 16);
    if (r < 0)
        return spy_err_set(err, r, 0, "out of memory");
    memset(t->block, 0, total * sizeof *t->block);
    int64_t *at = t->block;
    for (size_t i = 0; i < SPY_COUNT(sizes); at += sizes[i++])
        *arrays[i] = at;
    t->p = p;
    t->slice = slice;
    return 0;
}

// --- rows ---

// Runs find: returns 1 and sets *ret, or 0 if there is no such row.
static int find_row(struct spy_intern *t, sqlite3_stmt *borrowed, struct known *ret,
                    struct spy_err *err)
{
    _cleanup_reset_ sqlite3_stmt *q = borrowed;
    int code = sqlite3_step(q);
    if (code == SQLITE_DONE)
        return 0;
    if (code != SQLITE_ROW)
        return spy_db_failed(t->db, err, "looking up an id");
    ret->id = sqlite3_column_int64(q, 0);
    ret->seen = sqlite3_column_count(q) > 1 ? (uint32_t)sqlite3_column_int64(q, 1) : UINT32_MAX;
    return 1;
}

static int insert_row(struct spy_intern *t, const struct statements *s, int columns,
                      struct known *ret, struct spy_err *err)
{
    bool has_seen = s->touch != NULL;
    if (has_seen)
        sqlite3_bind_int64(s->add, columns + 1, t->slice);
    t->dirty = true;
    int r = spy_db_run(t->db, s->add, err);
    if (r == 0)
        *ret = (struct known){sqlite3_last_insert_rowid(t->db), has_seen ? t->slice : UINT32_MAX};
    return r;
}

static int touch_row(struct spy_intern *t, const struct statements *s, int64_t id, uint32_t *seen,
                     struct spy_err *err)
{
    if (*seen >= t->slice)
        return 0;
    sqlite3_bind_int64(s->touch, 1, id);
    sqlite3_bind_int64(s->touch, 2, t->slice);
    t->dirty = true;
    int r = spy_db_run(t->db, s->touch, err);
    if (r == 0)
        *seen = t->slice;
    return r;
}

// cols: what makes the row unique; key: the same in three numbers.
static int intern_keyed(struct spy_intern *t, int kind, const uint64_t key[3], const int64_t *cols,
                        int n, int64_t *ret, struct spy_err *err)
{
    const struct statements *s = &t->keyed[kind];
    struct spy_idmap_entry *e = spy_idmap_find(&t->maps[kind], key);
    struct known k = {0};
    if (e) {
        *ret = e->id;
        return touch_row(t, s, e->id, &e->seen, err);
    }
    for (int i = 0; i < n; i++) {
        sqlite3_bind_int64(s->find, i + 1, cols[i]);
        sqlite3_bind_int64(s->add, i + 1, cols[i]);
    }
    int r = find_row(t, s->find, &k, err);
    r = r < 0 ? r : r ? touch_row(t, s, k.id, &k.seen, err) : insert_row(t, s, n, &k, err);
    if (r < 0)
        return r;
    r = spy_idmap_add(&t->maps[kind], key, k.id, k.seen);
    if (r < 0)
        return spy_err_set(err, r, 0, "out of memory");
    *ret = k.id;
    return 0;
}

// The text's place in the cache; NULL: it has none.
static struct known *find_remembered(struct texts *t, const struct spy_profile_caps *caps,
                                     const char *text, size_t len)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        uint32_t i = 0, before;
        if (!t->interned) {
            t->interned = spy_profile_new_capped(caps);
            if (!t->interned)
                return NULL;
        }
        before = spy_profile_n_strings(t->interned);
        if (spy_grow(&t->of, &t->cap, (size_t)before + 1, sizeof *t->of, SIZE_MAX / 64) < 0)
            return NULL;
        if (before == 1) // the empty string is there from the start
            t->of[0] = (struct known){0};
        if (spy_profile_string(t->interned, text, len, &i) == 0) {
            if (i >= before)
                t->of[i] = (struct known){0};
            return &t->of[i];
        }
        spy_profile_free(t->interned); // full: start again
        t->interned = NULL;
    }
    return NULL;
}

// Finds the row of a text: returns 1, or 0 if there is none. *ret is the text's place in the cache,
// which insert_text fills.
static int find_text_row(struct spy_intern *t, int kind, const char *bytes, size_t len,
                         struct known **ret, struct spy_err *err)
{
    const struct statements *s = &t->text[kind];
    struct known *k = find_remembered(&t->texts[kind], &t->caps, bytes, len);
    if (!k) {
        t->not_remembered = (struct known){0};
        k = &t->not_remembered;
    }
    int r = k->id != 0;
    if (!r) {
        sqlite3_bind_text64(s->find, 1, bytes, len, SQLITE_STATIC, SQLITE_UTF8);
        r = find_row(t, s->find, k, err);
        sqlite3_bind_null(s->find, 1);
    }
    if (r > 0 && s->touch) {
        int touched = touch_row(t, s, k->id, &k->seen, err);
        r = touched < 0 ? touched : r;
    }
    *ret = k;
    return r;
}

static int insert_text(struct spy_intern *t, int kind, const char *bytes, size_t len,
                       struct known *k, struct spy_err *err)
{
    const struct statements *s = &t->text[kind];
    sqlite3_bind_text64(s->add, 1, bytes, len, SQLITE_STATIC, SQLITE_UTF8);
    int r = insert_row(t, s, 1, k, err);
    sqlite3_bind_null(s->add, 1);
    return r;
}

// --- what a profile holds ---

static int intern_string(struct spy_intern *t, uint32_t id, int64_t *ret, struct spy_err *err)
{
    if (!t->strings[id]) {
        const char *bytes = spy_profile_text(t->p, id);
        size_t len = spy_profile_text_len(t->p, id);
        struct known *k;
        int r = find_text_row(t, STRINGS, bytes, len, &k, err);
        if (r == 0)
            r = insert_text(t, STRINGS, bytes, len, k, err);
        if (r < 0)
            return r;
        t->strings[id] = k->id;
    }
    *ret = t->strings[id];
    return 0;
}

static int intern_function(struct spy_intern *t, uint32_t id, int64_t *ret, struct spy_err *err)
{
    if (!t->functions[id]) {
        const struct spy_function *f = spy_profile_function_at(t->p, id);
        int64_t cols[4] = {0, 0, f->start_line, f->kind};
        int r = intern_string(t, f->name, &cols[0], err);
        if (r == 0)
            r = intern_string(t, f->filename, &cols[1], err);
        if (r < 0)
            return r;
        uint64_t key[3] = {(uint64_t)cols[0], (uint64_t)cols[1],
                           (uint64_t)f->start_line << 32 | f->kind};
        r = intern_keyed(t, FUNCTIONS, key, cols, 4, &t->functions[id], err);
        if (r < 0)
            return r;
    }
    *ret = t->functions[id];
    return 0;
}

static int intern_frame_row(struct spy_intern *t, uint32_t id, int64_t *ret, struct spy_err *err)
{
    if (!t->frames[id]) {
        const struct spy_frame *f = spy_profile_frame_at(t->p, id);
        int64_t cols[2] = {0, f->line};
        int r = intern_function(t, f->function, &cols[0], err);
        if (r < 0)
            return r;
        uint64_t key[3] = {(uint64_t)cols[0], f->line, 0};
        r = intern_keyed(t, FRAMES, key, cols, 2, &t->frames[id], err);
        if (r < 0)
            return r;
    }
    *ret = t->frames[id];
    return 0;
}

static int intern_one_stack(struct spy_intern *t, uint32_t id, struct spy_err *err)
{
    const struct spy_stack *s = spy_profile_stack_at(t->p, id);
    int64_t cols[2] = {s->parent ? t->stacks[s->parent] : 0, 0};
    int r = intern_frame_row(t, s->frame, &cols[1], err);
    uint64_t key[3] = {(uint64_t)cols[0], (uint64_t)cols[1], 0};
    return r < 0 ? r : intern_keyed(t, STACKS, key, cols, 2, &t->stacks[id], err);
}

// Interns ancestors first, each once. Meanwhile the descendants wait in t->stacks as a chain of
// negative links, so that a stack of any depth needs neither recursion nor memory.
static int intern_path(struct spy_intern *t, uint32_t stack, struct spy_err *err)
{
    uint32_t at = stack, below = 0;
    while (at && !t->stacks[at]) {
        t->stacks[at] = -(int64_t)below - 1;
        below = at;
        at = spy_profile_stack_at(t->p, at)->parent;
    }
    int r = 0;
    for (uint32_t s = below; s;) {
        uint32_t next = (uint32_t)(-t->stacks[s] - 1);
        t->stacks[s] = 0;
        if (r == 0)
            r = intern_one_stack(t, s, err);
        s = next;
    }
    return r;
}

// A stack that is marked with this slice has ancestors that are.
static bool is_interned(struct spy_intern *t, const uint64_t key[3], int64_t *ret)
{
    const struct spy_idmap_entry *e = spy_idmap_find(&t->digests, key);
    if (!e || e->seen < t->slice)
        return false;
    *ret = e->id;
    return true;
}

int spy_intern_stack(struct spy_intern *t, uint32_t stack, const struct spy_digest *digests,
                     int64_t *ret, struct spy_err *err)
{
    const uint64_t key[3] = {digests[stack].low, digests[stack].high, 0};
    *ret = stack && t->stacks[stack] > 0 ? t->stacks[stack] : 0;
    if (!stack || *ret || is_interned(t, key, ret))
        return 0;
    int r = intern_path(t, stack, err);
    if (r < 0)
        return r;
    *ret = t->stacks[stack];
    struct spy_idmap_entry *e = spy_idmap_find(&t->digests, key);
    if (e)
        e->seen = t->slice;
    else
        r = spy_idmap_add(&t->digests, key, *ret, t->slice);
    return r < 0 ? spy_err_set(err, r, 0, "out of memory") : 0;
}

int spy_intern_thread(struct spy_intern *t, uint32_t thread, int64_t *ret, struct spy_err *err)
{
    if (thread && !t->threads[thread]) {
        const struct spy_thread *th = spy_profile_thread_at(t->p, thread);
        int64_t cols[2] = {(int64_t)th->tid, 0};
        int r = intern_string(t, th->name, &cols[1], err);
        if (r < 0)
            return r;
        uint64_t key[3] = {th->tid, (uint64_t)cols[1], 0};
        r = intern_keyed(t, THREADS, key, cols, 2, &t->threads[thread], err);
        if (r < 0)
            return r;
    }
    *ret = thread ? t->threads[thread] : 0;
    return 0;
}

static int print_labels_json(const struct spy_profile *p, struct spy_buf *out, struct spy_err *err)
{
    const struct spy_series *s = spy_profile_series_get(p, 0);
    spy_buf_putc(out, '{');
    for (uint32_t i = 0; i < s->n_labels; i++) {
        const struct spy_label *l = spy_profile_label_at(p, s->first_label + i);
        spy_buf_puts(out, i ? ", \"" : "\"");
        spy_buf_json(out, spy_profile_text(p, l->key), spy_profile_text_len(p, l->key));
        spy_buf_puts(out, "\": \"");
        spy_buf_json(out, spy_profile_text(p, l->value), spy_profile_text_len(p, l->value));
        spy_buf_putc(out, '"');
    }
    spy_buf_putc(out, '}');
    if (out->failed == SPY_ERR_LIMIT)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "the labels of a profile take more than %d KiB",
                           LABELS_JSON_MAX >> 10);
    return out->failed ? spy_err_set(err, out->failed, 0, "out of memory") : 0;
}

static int insert_labels(struct spy_intern *t, int64_t series, struct spy_err *err)
{
    const struct spy_series *s = spy_profile_series_get(t->p, 0);
    int r = 0;
    for (uint32_t i = 0; i < s->n_labels && r == 0; i++) {
        const struct spy_label *l = spy_profile_label_at(t->p, s->first_label + i);
        sqlite3_bind_int64(t->add_label, 1, series);
        sqlite3_bind_text64(t->add_label, 2, spy_profile_text(t->p, l->key),
                            spy_profile_text_len(t->p, l->key), SQLITE_STATIC, SQLITE_UTF8);
        sqlite3_bind_text64(t->add_label, 3, spy_profile_text(t->p, l->value),
                            spy_profile_text_len(t->p, l->value), SQLITE_STATIC, SQLITE_UTF8);
        r = spy_db_run(t->db, t->add_label, err);
    }
    sqlite3_clear_bindings(t->add_label);
    return r;
}

static int insert_series(struct spy_intern *t, const struct spy_buf *json, uint32_t max_series,
                         struct known *k, struct spy_err *err)
{
    int r = 0;
    if (t->n_series < 0)
        r = spy_db_number(t->db, "SELECT count(*) FROM series", &t->n_series, err);
    if (r == 0 && t->n_series >= max_series)
        r = spy_err_set(err, SPY_ERR_LIMIT, 0, "the store holds limits.series = %u series already",
                        max_series);
    if (r == 0)
        r = insert_text(t, SERIES, spy_buf_str(json), json->len, k, err);
    if (r == 0)
        r = insert_labels(t, k->id, err);
    if (r == 0)
        t->n_series++;
    return r;
}

int spy_intern_series(struct spy_intern *t, uint32_t max_series, int64_t *ret, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf json = SPY_BUF_INIT(LABELS_JSON_MAX);
    struct known *k;
    int r = print_labels_json(t->p, &json, err);
    if (r < 0)
        return r;
    r = find_text_row(t, SERIES, spy_buf_str(&json), json.len, &k, err);
    if (r == 0)
        r = insert_series(t, &json, max_series, k, err);
    if (r < 0)
        return r;
    *ret = k->id;
    return 0;
}
