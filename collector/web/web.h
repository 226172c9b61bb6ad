// web.h - what browsers are served: the page and speedscope, compiled into the program.
//
// The files are made by build.sh. Each is there as it is and, where that saves space, compressed with
// gzip, so that an answer costs neither memory nor compression. They live as long as the program.
//
// Threads: all of it is constant.
#pragma once
#include "collector/http/http.h"

struct spy_web_asset {
    const char *path;          // "/", "/assets/app.3f0e7971bb88d397.css"
    const char *media_type;    // with its charset
    const char *policy;        // Content-Security-Policy
    const char *cache_control; // whether and how long a browser may keep it
    struct spy_http_constant file;
};

enum { SPY_WEB_MAX = 64 }; // rows

// Ends with a row without path. With PODSPY_WEB=OFF it has no other.
extern const struct spy_web_asset spy_web_assets[];
