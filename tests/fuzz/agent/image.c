#include "image.h"
#include <string.h>

struct cursor {
    const uint8_t *data;
    size_t at, size;
    bool ok;
};

static uint64_t take(struct cursor *c, size_t n)
{
    uint64_t v = 0;
    if (!c->ok || n > c->size - c->at) {
        c->ok = false;
        return 0;
    }
    memcpy(&v, c->data + c->at, n);
    c->at += n;
    return v;
}

static const void *bytes(struct cursor *c, size_t n)
{
    const void *p = c->data + c->at;
    if (!c->ok || n > c->size - c->at) {
        c->ok = false;
        return NULL;
    }
    c->at += n;
    return p;
}

static void take_maps(struct cursor *c, struct image *im)
{
    size_t n = take(c, 2);
    im->maps_at = c->at;
    c->ok = c->ok && n <= IMAGE_MAPS_MAX;
    for (size_t i = 0; c->ok && i < n; i++) {
        struct image_map *m = &im->maps[im->n_maps++];
        m->start = take(c, 8);
        m->end = take(c, 8);
        m->offset = take(c, 8);
        m->flags = (uint8_t)take(c, 1);
        m->path_len = (uint8_t)take(c, 1);
        m->path = bytes(c, m->path_len);
    }
}

bool image_parse(const uint8_t *data, size_t size, struct image *ret)
{
    struct cursor c = {data, 0, size, true};
    struct image *im = ret;
    im->n_maps = im->n_tids = im->n_edits = im->n_pieces = 0;
    im->pid = (uint32_t)take(&c, 4);
    take_maps(&c, im);
    size_t n = take(&c, 2);
    c.ok = c.ok && n <= IMAGE_TIDS_MAX;
    for (size_t i = 0; c.ok && i < n; i++)
        im->tids[im->n_tids++] = (uint32_t)take(&c, 4);
    im->edits_at = c.at;
    n = take(&c, 1);
    c.ok = c.ok && n <= IMAGE_EDITS_MAX;
    for (size_t i = 0; c.ok && i < n; i++) {
        const void *e = bytes(&c, sizeof *im->edits);
        if (e)
            memcpy(&im->edits[im->n_edits++], e, sizeof *im->edits);
    }
    if (!c.ok)
        return false;
    while (im->n_pieces < IMAGE_PIECES_MAX) {
        struct image_piece p = {.addr = take(&c, 8), .len = take(&c, 2), .at = c.at};
        if (!bytes(&c, p.len))
            break;
        im->pieces[im->n_pieces++] = p;
    }
    return true;
}

struct spy_still *image_still(const struct image *im, const uint8_t *data)
{
    struct spy_still *s = spy_still_new();
    int r = s ? 0 : -1;
    for (size_t i = 0; r == 0 && i < im->n_maps; i++) {
        const struct image_map *m = &im->maps[i];
        char path[256];
        memcpy(path, m->path, m->path_len);
        path[m->path_len] = 0;
        struct spy_mapping e = {.start = m->start,
                                .end = m->end,
                                .offset = m->offset,
                                .readable = m->flags & 1,
                                .writable = m->flags & 2,
                                .executable = m->flags & 4};
        r = spy_maps_add(&s->maps, &e, path);
    }
    for (size_t i = 0; r == 0 && i < im->n_tids; i++)
        r = spy_still_add_tid(s, (pid_t)im->tids[i]);
    for (size_t i = 0; r == 0 && i < im->n_pieces; i++) {
        const struct image_piece *p = &im->pieces[i];
        if (!p->len || p->addr > UINT64_MAX - p->len)
            continue;
        struct spy_still_piece e = {
            .start = p->addr, .end = p->addr + p->len, .bytes = data + p->at};
        r = spy_still_add_piece(s, &e);
    }
    if (r == 0)
        r = spy_still_settle(s);
    if (r < 0) {
        spy_still_free(s);
        return NULL;
    }
    s->pid = (pid_t)im->pid;
    s->zero_fill = true;
    return s;
}
