// merge.h - one profile added to another, as a plain rendering of what the store's query must do.
#pragma once
#include "shared/profile/profile.h"

// Adds all of src's samples and series to dst. Series with the same labels become one, as
// spy_series_unite does it; counts saturate. dst == src is SPY_ERR_INVALID. After SPY_ERR_LIMIT or
// SPY_ERR_NOMEM dst holds a part of src and is good for spy_profile_free alone.
int merge_profiles(struct spy_profile *dst, const struct spy_profile *src);
