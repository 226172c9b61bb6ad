#include "shared/base/mem.h"
#include "shared/otlp/otlp.h"
#include <inttypes.h>
#include <jansson.h>
#include <podspy_otlp.pb-c.h>
#include <stdio.h>
#include <stdlib.h>

// {"partialSuccess": {"rejectedProfiles": "1", "errorMessage": "..."}}, or {}.
static int encode_json(uint64_t rejected, const char *message, struct spy_buf *out)
{
    char number[24];
    snprintf(number, sizeof number, "%" PRIu64, rejected);
    json_t *root = json_object();
    if (rejected || *message)
        json_object_set_new(
            root, "partialSuccess",
            json_pack("{s:s, s:s}", "rejectedProfiles", number, "errorMessage", message));
    char *text = json_dumps(root, JSON_COMPACT);
    int r = text ? spy_buf_puts(out, text) : SPY_ERR_NOMEM;
    free(text);
    json_decref(root);
    return r;
}

static int encode_protobuf(uint64_t rejected, const char *message, struct spy_buf *out)
{
    Spy__Otlp__ExportProfilesPartialSuccess partial =
        SPY__OTLP__EXPORT_PROFILES_PARTIAL_SUCCESS__INIT;
    Spy__Otlp__ExportProfilesServiceResponse r = SPY__OTLP__EXPORT_PROFILES_SERVICE_RESPONSE__INIT;
    partial.rejected_profiles = (int64_t)rejected;
    partial.error_message = (char *)(uintptr_t)message; // NOLINT: not kept
    if (rejected || *partial.error_message)
        r.partial_success = &partial;
    size_t n = spy__otlp__export_profiles_service_response__get_packed_size(&r);
    uint8_t *to = spy_buf_reserve(out, n);
    if (!to)
        return out->failed;
    spy_buf_commit(out, spy__otlp__export_profiles_service_response__pack(&r, to));
    return 0;
}

int spy_otlp_encode_response(enum spy_otlp_form form, uint64_t rejected, const char *message,
                             struct spy_buf *out)
{
    if (rejected > INT64_MAX)
        rejected = INT64_MAX;
    return form == SPY_OTLP_JSON ? encode_json(rejected, message, out)
                                 : encode_protobuf(rejected, message, out);
}

int spy_otlp_decode_response(const uint8_t *data, size_t len, uint64_t *ret_rejected, char *message,
                             size_t size)
{
    Spy__Otlp__ExportProfilesServiceResponse *r =
        spy__otlp__export_profiles_service_response__unpack(NULL, len, data);
    if (!r)
        return SPY_ERR_INVALID;
    const Spy__Otlp__ExportProfilesPartialSuccess *p = r->partial_success;
    *ret_rejected = p && p->rejected_profiles > 0 ? (uint64_t)p->rejected_profiles : 0;
    if (size)
        snprintf(message, size, "%s", p && p->error_message ? p->error_message : "");
    spy__otlp__export_profiles_service_response__free_unpacked(r, NULL);
    return 0;
}
