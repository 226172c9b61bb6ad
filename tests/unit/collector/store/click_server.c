#include "click_server.h"
#include "collector/store/clickhouse/link.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { START_SECS = 120 };
static char folder[64];
static unsigned port;
static pid_t server;

static const char config[] =
    "<yandex><logger><level>warning</level><log>%s/log</log><errorlog>%s/errors</errorlog></logger>"
    "<http_port>%u</http_port><listen_host>127.0.0.1</listen_host><path>%s/data/</path>"
    "<tmp_path>%s/tmp/</tmp_path><mark_cache_size>67108864</mark_cache_size>"
    "<users_config>%s/users.xml</users_config><default_profile>default</default_profile>"
    "<default_database>default</default_database></yandex>\n";
static const char users[] =
    "<yandex><profiles><default></default></profiles><users>"
    "<default><password></password><networks><ip>127.0.0.1</ip></networks>"
    "<profile>default</profile><quota>default</quota></default>"
    "<secret><password>pass-word</password><networks><ip>127.0.0.1</ip></networks>"
    "<profile>default</profile><quota>default</quota></secret></users>"
    "<quotas><default></default></quotas></yandex>\n";

static void stop_server(void)
{
    if (server > 0) {
        kill(server, SIGKILL);
        waitpid(server, NULL, 0);
    }
    server = 0;
}

static void remove_server(void)
{
    char command[128];
    stop_server();
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (*folder && system(command) != 0)
        print_message("cannot remove %s\n", folder);
}

static void write_config(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static unsigned find_free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static bool answers(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool yes = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    close(fd);
    return yes;
}

static void run_server(void)
{
    char option[128], out[128];
    snprintf(option, sizeof option, "--config-file=%s/config.xml", folder);
    snprintf(out, sizeof out, "%s/output", folder);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open(out, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, 1);
    dup2(fd, 2);
    if (chdir(folder) == 0)
        execlp("clickhouse-server", "clickhouse-server", option, (char *)NULL);
    _exit(127);
}

void click_server_start(void)
{
    server = fork();
    assert_true(server >= 0);
    if (!server)
        run_server();
    for (uint64_t end = spy_clock_mono_ns() + START_SECS * SPY_NS_PER_SEC; !answers();) {
        if (waitpid(server, NULL, WNOHANG) == server) {
            server = 0;
            fail_msg("clickhouse-server ended; its output is in %s", folder);
        }
        assert_true(spy_clock_mono_ns() < end);
        usleep(50000);
    }
}

void click_server_kill(void)
{
    stop_server();
}

static bool is_installed(void)
{
    static const char *const paths[] = {"/usr/sbin/clickhouse-server",
                                        "/usr/bin/clickhouse-server"};
    for (size_t i = 0; i < SPY_COUNT(paths); i++)
        if (access(paths[i], X_OK) == 0)
            return true;
    return false;
}

unsigned click_server_port(void)
{
    char text[2048];
    const char *other = getenv("PODSPY_CLICKHOUSE_PORT");
    if (server)
        return port;
    if (other)
        return port = (unsigned)strtoul(other, NULL, 10);
    if (!is_installed()) {
        print_message("skipped: clickhouse-server is not installed\n");
        skip();
    }
    snprintf(folder, sizeof folder, "/tmp/podspy-clickhouse-XXXXXX");
    assert_non_null(mkdtemp(folder));
    atexit(remove_server);
    port = find_free_port();
    snprintf(text, sizeof text, config, folder, folder, port, folder, folder, folder);
    write_config("config.xml", text);
    write_config("users.xml", users);
    click_server_start();
    return port;
}

unsigned long click_server_ask(const char *database, const char *sql)
{
    struct spy_click_place place = {0};
    struct spy_click_link *l = NULL;
    struct spy_err err = {0};
    uint64_t n = 0;
    snprintf(place.url, sizeof place.url, "http://127.0.0.1:%u", port);
    snprintf(place.database, sizeof place.database, "%s", database);
    assert_int_equal(spy_click_link_new(&place, &l, &err), 0);
    if (spy_click_number(l, sql, &n, &err) < 0)
        fail_msg("%s: %s", sql, err.msg);
    spy_click_link_free(l);
    return n;
}
