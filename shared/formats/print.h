// print.h - the printers behind format.h's table, and the helpers they share. Inside of
// shared/formats.
#pragma once
#include "shared/formats/tree.h"

int spy_print_svg(const struct spy_profile *p, const struct spy_view *v, struct spy_buf *out,
                  struct spy_err *err);
int spy_print_speedscope(const struct spy_profile *p, const struct spy_view *v, struct spy_buf *out,
                         struct spy_err *err);
int spy_print_collapsed(const struct spy_profile *p, const struct spy_view *v, struct spy_buf *out,
                        struct spy_err *err);
int spy_print_json(const struct spy_profile *p, const struct spy_view *v, struct spy_buf *out,
                   struct spy_err *err);

// The message of a printer that failed with r.
int spy_print_failed(int r, struct spy_err *err);
// "text" with its quotes.
int spy_put_json_string(struct spy_buf *out, const char *text, size_t len);
