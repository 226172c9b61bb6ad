// types.h - the profile types that Grafana is offered: which samples each counts. Inside of
// collector/grafana.
//
// Every sample of podspy has a state, so one stored profile answers for several types. A type's id is
// name:sample_type:sample_unit:period_type:period_unit. Samples are taken by the wall clock; the
// types of CPU time name cpu as their period, as Grafana recognizes them by it and shows cores. Both
// spellings are accepted. Types of other profilers (off_cpu) are "other:TYPE:UNIT:wall:nanoseconds".
#pragma once
#include "collector/store/store.h"

enum { SPY_TYPE_ID_MAX = 256 };

struct spy_profile_type {
    const char *name, *sample_type, *unit, *period;
    uint32_t states; // enum spy_state: samples with any of these; 0: all
};

extern const struct spy_profile_type spy_profile_types[];
extern const size_t spy_profile_n_types;

// What a question's type selects.
struct spy_type_asked {
    uint32_t states; // as of spy_profile_type
    bool counts;     // samples, not nanoseconds
    bool is_other;   // of another profiler: the series labelled with this type
    char type[SPY_TYPE_ID_MAX];
};

// SPY_ERR_INVALID: there is no such type; err lists them.
int spy_type_parse(const char *id, struct spy_type_asked *ret, struct spy_err *err);
// Appends the term that selects the series of this type; it borrows from t.
void spy_type_narrow(const struct spy_type_asked *t, struct spy_select *select);
// What a sample weighs for this type: 0 if it does not count.
static inline uint64_t spy_type_weigh(const struct spy_type_asked *t, const struct spy_sample *s)
{
    return t->states && !(s->state & t->states) ? 0 : t->counts ? s->count : s->ns;
}
// Whether a label's value can stand in an id: letters, digits and "_.-/".
bool spy_type_is_plain(const char *type);
