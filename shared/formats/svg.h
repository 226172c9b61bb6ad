// svg.h - the parts of a flamegraph that are text files of their own (shared/formats/web).
#pragma once

// The script and the style inside of every SVG that spy_print_svg makes, to the byte as they stand
// between
// <![CDATA[ and ]]>; whoever serves one can name the script's hash in a Content-Security-Policy.
extern const char spy_svg_script[];
extern const char spy_svg_style[];
// What stands around the script inside of its element.
#define SPY_SVG_SCRIPT_BEFORE "//<![CDATA[\n"
#define SPY_SVG_SCRIPT_AFTER  "//]]>"
