// click_server.h - a ClickHouse server of this process's own: its files in a new folder, on a free
// port of 127.0.0.1. It ends with the process. One at a time; not thread safe. PODSPY_CLICKHOUSE_PORT
// names the port of a server that runs already.
#pragma once

// The port of its HTTP interface; starts it with the first call. Skips the case where
// clickhouse-server is not installed.
unsigned click_server_port(void);
void click_server_kill(void);  // SIGKILL; its files stay
void click_server_start(void); // again, on the same port and files
// Runs a statement, which must not fail, and returns the answer's first number.
unsigned long click_server_ask(const char *database, const char *sql);
