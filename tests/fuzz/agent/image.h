// image.h - a snapshot of the few kilobytes of a process that podspy reads, as one input of a
// fuzz target.
//
// Numbers are little-endian and packed: u32 pid; u16 n and n times {u64 start, end, offset; u8
// flags (1 r, 2 w, 4 x); u8 length; path}: what is mapped; u16 n and n times u32: threads; u8 n and
// n times {u16 reads, u16 piece, u16 at, u64 word}: after so many reads, that word of the piece
// changes; then, to the end, pieces {u64 addr, u16 length, bytes}. What is mapped but in no piece
// is zero.
#pragma once
#include "agent/target/still.h"

enum {
    IMAGE_MAPS_MAX = 64,
    IMAGE_TIDS_MAX = 64,
    IMAGE_EDITS_MAX = 16,
    IMAGE_PIECES_MAX = 4096,
};

struct image_piece {
    uint64_t addr;
    size_t len, at; // `at`: where its bytes lie in the input
};

struct image_edit {
    uint16_t reads, piece, at;
    uint64_t word;
} __attribute__((packed));

struct image_map {
    uint64_t start, end, offset;
    uint8_t flags, path_len;
    const char *path;
};

struct image {
    uint32_t pid;
    struct image_map maps[IMAGE_MAPS_MAX];
    size_t n_maps, maps_at;
    uint32_t tids[IMAGE_TIDS_MAX];
    size_t n_tids;
    struct image_edit edits[IMAGE_EDITS_MAX];
    size_t n_edits, edits_at; // where their number lies in the input
    struct image_piece pieces[IMAGE_PIECES_MAX];
    size_t n_pieces;
};

// False where the input is not an image. A piece that is cut off by the end of the input is left
// out.
bool image_parse(const uint8_t *data, size_t size, struct image *ret);
// Memory of these bytes, which must outlive it; NULL where pieces or maps overlap.
struct spy_still *image_still(const struct image *im, const uint8_t *data);
