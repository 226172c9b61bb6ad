// assets.c - the files that build.sh made, and how each is served.
#include "collector/web/web.h"

// What the page may do: load its own files, ask the collector, and show pictures that it draws. Nothing
// in a document or in its data becomes a script.
#define POLICY_PAGE                                                                                \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "        \
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "                   \
    "frame-ancestors 'none'"
// speedscope writes its styles into the document, demangles names by WebAssembly, and reads profiles
// that the page hands over from blobs.
#define POLICY_SPEEDSCOPE                                                                          \
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; " \
    "img-src 'self' data: blob:; font-src 'self'; connect-src 'self' blob:; base-uri 'none'; "     \
    "form-action 'none'; frame-ancestors 'none'"
#define policy_page       POLICY_PAGE
#define policy_speedscope POLICY_SPEEDSCOPE

#define type_html  "text/html; charset=utf-8"
#define type_css   "text/css; charset=utf-8"
#define type_js    "text/javascript; charset=utf-8"
#define type_txt   "text/plain; charset=utf-8"
#define type_md    type_txt
#define type_json  "application/json"
#define type_svg   "image/svg+xml"
#define type_png   "image/png"
#define type_ico   "image/x-icon"
#define type_woff2 "font/woff2"
#define type_wasm  "application/wasm"

// A name that holds a digest of the contents never means others.
#define cache_immutable "public, max-age=31536000, immutable"
#define cache_checked   "no-cache"

// .incbin rather than an array: it costs no time to compile.
#define BLOB(number, file, size)                                                                   \
    __asm__(".pushsection .rodata\n\t.balign 8\n\t.local web_file_" #number "\nweb_file_" #number  \
            ":\n\t.incbin \"" WEB_FOLDER "/" file "\"\n\t.byte 0\n\t.popsection");                 \
    extern const uint8_t web_file_##number[size];
#define ASSET(...)
#include "assets.inc"
#undef BLOB
#undef ASSET

#define FILE(number) web_file_##number, sizeof web_file_##number
#define NONE         NULL, 0
#define ROW(at, kind, folder, keeps, digest, whole, whole_len, gzip, gzip_len)                     \
    {                                                                                              \
        .path = at,                                                                                \
        .media_type = type_##kind,                                                                 \
        .policy = policy_##folder,                                                                 \
        .cache_control = cache_##keeps,                                                            \
        .file = {.data = whole,                                                                    \
                 .len = whole_len,                                                                 \
                 .packed = gzip,                                                                   \
                 .packed_len = gzip_len,                                                           \
                 .etag = "\"" digest "\"",                                                         \
                 .packed_etag = "\"" digest "-gzip\""},                                            \
    },
#define ASSET(at, kind, folder, keeps, digest, whole, gzip)                                        \
    ROW(at, kind, folder, keeps, digest, whole, gzip)
#define BLOB(number, file, size)
const struct spy_web_asset spy_web_assets[] = {
#include "assets.inc"
    {.path = NULL}};
_Static_assert(sizeof spy_web_assets / sizeof *spy_web_assets <= SPY_WEB_MAX, "raise SPY_WEB_MAX");
