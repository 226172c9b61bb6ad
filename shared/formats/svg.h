// svg.h - what the files of the flamegraph share, and its parts that are text files of their own
// (shared/formats/web).
#pragma once
#include "shared/formats/tree.h"

// The script and the style of every flamegraph, byte for byte as they stand between <![CDATA[ and
// ]]>.
extern const char spy_svg_script[];
extern const char spy_svg_style[];
// What stands around the script inside of its element.
#define SPY_SVG_SCRIPT_BEFORE "//<![CDATA[\n"
#define SPY_SVG_SCRIPT_AFTER  "//]]>"

enum { SPY_SVG_COLOURS = 16 }; // classes c0 to c15 of the style

// s (len bytes) as text of an element or of an attribute. What XML or a terminal must not see, but
// for tabs and newlines, becomes U+FFFD.
void spy_svg_put_text(struct spy_buf *out, const char *s, size_t len);
unsigned spy_svg_colour(const struct spy_tree *t, const struct spy_node *n);

// The element that carries every frame of the tree, drawn or not, for the script; in svg_frames.c.
// 0, SPY_ERR_LIMIT, SPY_ERR_NOMEM.
int spy_svg_put_frames(const struct spy_tree *t, struct spy_buf *out);
// The picture without a script: what can be seen, root on top, from y = top; in svg_drawing.c. The
// same codes.
int spy_svg_put_drawing(const struct spy_tree *t, uint32_t top, uint32_t row, struct spy_buf *out);
