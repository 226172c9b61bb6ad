#include "collector/config/collector_config.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <string.h>

#define HOUR (3600 * SPY_NS_PER_SEC)

static int collector(const char *text, struct spy_collector_config *c, struct spy_err *e)
{
    return spy_collector_config_parse("collector.yaml", text, strlen(text), c, e);
}

static void assert_collector_defaults(const struct spy_collector_config *c)
{
    assert_string_equal(c->listen.https, "0.0.0.0:8443");
    assert_string_equal(c->listen.http, "127.0.0.1:8080");
    assert_null(c->tls.cert_file);
    assert_null(c->tls.key_file);
    assert_null(c->tls.client_ca_file);
    assert_int_equal(c->auth.ingest, SPY_AUTH_TOKEN);
    assert_int_equal(c->auth.read, SPY_AUTH_TOKEN);
    assert_int_equal(c->store.kind, SPY_STORE_SQLITE);
    assert_non_null(c->store.dir);
    assert_true(c->retention.raw_ns == 24 * HOUR);
    assert_true(c->retention.minutes_ns == 7 * 24 * HOUR);
    assert_true(c->retention.hours_ns == 90 * 24 * HOUR);
    assert_int_equal(c->retention.max_gib, 50);
    assert_int_equal(c->limits.body_mib, 16);
    assert_int_equal(c->limits.agents, 10000);
    assert_int_equal(c->limits.series, 1000000);
    assert_int_equal(c->limits.connections_per_ip, 256);
}

static void an_empty_file_gives_the_defaults(void **state)
{
    (void)state;
    static const char *const nothing[] = {
        "", "# only a comment\n", "---\n", "~\n", "{}\n", "null", "NULL\n"};
    for (size_t i = 0; i < SPY_COUNT(nothing); i++) {
        struct spy_collector_config c;
        assert_int_equal(collector(nothing[i], &c, NULL), 0);
        assert_collector_defaults(&c);
        spy_collector_config_free(&c);
    }
}

// The block of the manual page, word for word where it is YAML.
static void the_documented_block_is_accepted_and_is_the_defaults(void **state)
{
    (void)state;
    struct spy_collector_config c;
    struct spy_err e = {0};
    if (collector("listen: {https: \"0.0.0.0:8443\", http: \"127.0.0.1:8080\"}\n"
                  "tls:    {cert_file: , key_file: , client_ca_file: }\n"
                  "store:  {kind: sqlite, dir: }\n"
                  "retention: {raw: 24h, minutes: 7d, hours: 90d, max_gib: 50}\n"
                  "limits: {body_mib: 16, agents: 10000, series: 1000000,"
                  " connections_per_ip: 256}\n",
                  &c, &e) < 0)
        fail_msg("%s", e.msg);
    assert_collector_defaults(&c);
    spy_collector_config_free(&c);
}

static void every_way_to_authenticate_is_accepted_by_name(void **state)
{
    (void)state;
    struct spy_collector_config c;
    struct spy_err e = {0};
    assert_int_equal(collector("auth: {ingest: [token, mtls], read: mtls}\n"
                               "tls: {client_ca_file: ca.pem}\n",
                               &c, &e),
                     0);
    assert_int_equal(c.auth.ingest, SPY_AUTH_TOKEN | SPY_AUTH_MTLS);
    assert_int_equal(c.auth.read, SPY_AUTH_MTLS);
    spy_collector_config_free(&c);
    assert_int_equal(collector("auth: {ingest: [mtls]}", &c, &e), SPY_ERR_INVALID);
    assert_non_null(strstr(e.msg, "client_ca_file"));
}

static void settings_of_kubernetes_have_defaults_and_are_checked(void **state)
{
    (void)state;
    struct spy_collector_config c;
    struct spy_err e = {0};
    assert_int_equal(collector("auth: {ingest: [token, kubernetes]}\n"
                               "tls: {secret: s, config_map: m}\n",
                               &c, &e),
                     0);
    assert_int_equal(c.auth.ingest, SPY_AUTH_TOKEN | SPY_AUTH_KUBERNETES);
    assert_string_equal(c.auth.kubernetes.audience, "podspy-collector");
    assert_null(c.auth.kubernetes.agent);
    assert_string_equal(c.auth.kubernetes.service, "podspy-collector");
    assert_null(c.auth.kubernetes.url);
    assert_string_equal(c.tls.secret, "s");
    assert_string_equal(c.tls.config_map, "m");
    spy_collector_config_free(&c);
    assert_int_equal(collector("tls: {config_map: m}", &c, &e), SPY_ERR_INVALID);
    assert_non_null(strstr(e.msg, "tls.secret"));
    assert_int_equal(collector("tls: {secret: s, cert_file: c, key_file: k}", &c, &e),
                     SPY_ERR_INVALID);
}

static void retentions_need_a_unit(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"retention: {raw: 24h,\n minutes: 7}", "collector.yaml:2: minutes is a time like"},
        {"retention: {hours: 1}", "hours is a time like"},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        struct spy_collector_config c;
        struct spy_err e = {0};
        assert_int_equal(collector(rows[i].text, &c, &e), SPY_ERR_INVALID);
        if (!strstr(e.msg, rows[i].says))
            fail_msg("%s: %s", rows[i].text, e.msg);
    }
}

static void every_store_takes_the_levels_of_retention(void **state)
{
    (void)state;
    static const char *const kinds[] = {"sqlite", "clickhouse, url: u"};
    struct spy_collector_config c;
    char text[160];
    for (size_t i = 0; i < SPY_COUNT(kinds); i++) {
        snprintf(text, sizeof text,
                 "store: {kind: %s}\nretention: {raw: 2d, minutes: 3d, hours: 4d}\n", kinds[i]);
        assert_int_equal(collector(text, &c, NULL), 0);
        assert_true(c.retention.minutes_ns == 72 * HOUR && c.retention.hours_ns == 96 * HOUR);
        spy_collector_config_free(&c);
        snprintf(text, sizeof text, "store: {kind: %s}\nretention: {raw: 48h, hours: 0s}\n",
                 kinds[i]);
        assert_int_equal(collector(text, &c, NULL), 0);
        assert_true(c.retention.minutes_ns == 48 * HOUR); // how late a profile may be
        assert_true(c.retention.hours_ns == 0);
        spy_collector_config_free(&c);
    }
    assert_int_equal(collector("retention: {raw: 10d}", &c, NULL), 0);
    assert_true(c.retention.minutes_ns == 10 * 24 * HOUR);
    assert_true(c.retention.hours_ns == 90 * 24 * HOUR);
    spy_collector_config_free(&c);
}

static void a_clickhouse_needs_its_url_and_no_other_store_has_one(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"store: {kind: sqlite, url: u}", "need kind: clickhouse"},
        {"store: {user: n}", "need kind: clickhouse"},
        {"store: {password_file: p}", "need kind: clickhouse"},
        {"store: {replicas: 2}", "need kind: clickhouse"},
        {"store: {kind: clickhouse}", "needs store.url"},
        {"store: {kind: clickhouse, url: u, replicas: 17}", "replicas is a whole number"},
    };
    struct spy_collector_config c;
    for (size_t i = 0; i < SPY_COUNT(wrong); i++) {
        struct spy_err e = {0};
        assert_int_equal(collector(wrong[i][0], &c, &e), SPY_ERR_INVALID);
        if (!strstr(e.msg, wrong[i][1]))
            fail_msg("%s: %s", wrong[i][0], e.msg);
    }
    assert_int_equal(collector("store: {kind: clickhouse, url: 'https://ch:8443', user: n,"
                               " password_file: /p, ca_file: /ca, replicas: 2}",
                               &c, NULL),
                     0);
    assert_int_equal(c.store.kind, SPY_STORE_CLICKHOUSE);
    assert_string_equal(c.store.url, "https://ch:8443");
    assert_string_equal(c.store.database, "podspy");
    assert_string_equal(c.store.password_file, "/p");
    assert_int_equal(c.store.replicas, 2);
    spy_collector_config_free(&c);
}

struct row {
    const char *text, *says;
};

static void each_mistake_of_the_collector_names_its_line(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"listen:\n  htps: x", "collector.yaml:2: unknown key 'htps'; did you mean 'https'?"},
        {"auth:\n  ingest: [tokn]", ":2: ingest is one of token, mtls, kubernetes, not 'tokn'"},
        {"auth: {ingest: [[token]]}", "ingest is a list of names"},
        {"retention: {raw: 1s}", "raw is a time like"},
        {"limits: {body_mib: 0}", "body_mib is a whole number from 1 to 256"},
        {"limits: {body_mib: 257}", "body_mib is a whole number from 1 to 256"},
        {"tls: {key_file: x}", "go together"},
        {"store: {kind: oracle}", "kind is one of sqlite, clickhouse, not 'oracle'"},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        struct spy_collector_config c;
        struct spy_err e = {0};
        if (collector(rows[i].text, &c, &e) != SPY_ERR_INVALID)
            fail_msg("taken: %s", rows[i].text);
        if (!strstr(e.msg, rows[i].says))
            fail_msg("%s: %s", rows[i].text, e.msg);
    }
}

static void http_can_be_turned_off(void **state)
{
    (void)state;
    struct spy_collector_config c;
    assert_int_equal(collector("listen: {http: ''}", &c, NULL), 0);
    assert_string_equal(c.listen.http, "");
    spy_collector_config_free(&c);
    assert_int_equal(collector("listen: {http: off}", &c, NULL), 0);
    assert_string_equal(c.listen.http, "off");
    spy_collector_config_free(&c);
}

RUN(T(an_empty_file_gives_the_defaults), T(the_documented_block_is_accepted_and_is_the_defaults),
    T(every_way_to_authenticate_is_accepted_by_name),
    T(settings_of_kubernetes_have_defaults_and_are_checked), T(retentions_need_a_unit),
    T(a_clickhouse_needs_its_url_and_no_other_store_has_one),
    T(every_store_takes_the_levels_of_retention), T(each_mistake_of_the_collector_names_its_line),
    T(http_can_be_turned_off))
