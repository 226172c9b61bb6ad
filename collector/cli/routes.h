// routes.h - which request goes where. Inside of collector/cli.
//
// A route ends its own file with a row: of struct spy_http_route in this folder, or of struct
// spy_query in collector/query, from which routes.c makes one. The server's answers to a path that
// does not exist and to a method that a path does not take follow from the rows.
//
// arg is the struct spy_collector everywhere.
#pragma once
#include "collector/cli/collector.h"

extern const struct spy_http_route spy_route_push;    // push.c
extern const struct spy_http_route spy_route_readyz;  // health.c
extern const struct spy_http_route spy_route_healthz; // health.c
extern const struct spy_http_route spy_route_metrics; // metrics.c

// Appends what the collector itself takes as Prometheus text. In usage.c.
void spy_usage_print(const struct spy_collector *c, struct spy_buf *out);
// Handles every query: ask.c.
void spy_route_query(void *arg, const struct spy_http_request *req, struct spy_http_response *res);

// Handles every question of Grafana: grafana.c.
void spy_route_grafana(void *arg, const struct spy_http_request *req,
                       struct spy_http_response *res);
// As spy_allow_read, with refusals in Grafana's form. In grafana.c.
enum spy_http_verdict spy_allow_grafana(void *arg, const struct spy_http_request *req,
                                        struct spy_http_response *res);

// Handles every file of collector/web: page.c. None of them takes a credential, as they are the same
// for everybody; the questions that the page asks take one.
void spy_route_page(void *arg, const struct spy_http_request *req, struct spy_http_response *res);

// Decide whether a request may be served. In access.c. _plain: for anybody, without parameters.
// _read, _push: with a credential of that role, or on the plain listener; a push takes no parameters.
// _metrics: as _read, without parameters.
enum spy_http_verdict spy_allow_plain(void *arg, const struct spy_http_request *req,
                                      struct spy_http_response *res);
enum spy_http_verdict spy_allow_read(void *arg, const struct spy_http_request *req,
                                     struct spy_http_response *res);
enum spy_http_verdict spy_allow_metrics(void *arg, const struct spy_http_request *req,
                                        struct spy_http_response *res);
enum spy_http_verdict spy_allow_push(void *arg, const struct spy_http_request *req,
                                     struct spy_http_response *res);
