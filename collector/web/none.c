// none.c - no page: -DPODSPY_WEB=OFF.
#include "collector/web/web.h"

const struct spy_web_asset spy_web_assets[] = {{.path = NULL}};
