// param.h - one parameter of a request. Both texts are borrowed.
#pragma once

struct spy_param {
    const char *name, *value; // decoded; "" when there is none
};
