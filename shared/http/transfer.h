// transfer.h - one request and its answer. Inside of shared/http.
#pragma once
#include "shared/base/file_id.h"
#include "shared/http/client.h"
#include <curl/curl.h>
#include <pthread.h>

enum { SPY_CLIENT_IDLE_MAX = 8, SPY_CLIENT_FILES = 4 };

struct spy_client {
    struct spy_client_options o;
    bool aborted;                    // atomic
    pthread_mutex_t lock;            // of all below
    CURL *idle[SPY_CLIENT_IDLE_MAX]; // each with a connection
    unsigned n_idle;
    unsigned generation; // of the connections: an older one is not used again
    uint64_t since_ns;   // when the generation began; 0: there was none before
    bool noted;          // the files were, at least once
    struct spy_file_id seen[SPY_CLIENT_FILES];
};

struct spy_transfer {
    struct spy_client *client;
    CURL *easy;
    CURLM *multi; // that easy is in; NULL: none
    struct curl_slist *headers;
    struct spy_client_request request;
    struct spy_client_answer answer;
    unsigned generation;
    const char *unset; // the first option that libcurl refused
    bool over;
    char why[CURL_ERROR_SIZE];
};

// Notes the files as they are now. Returns for how many seconds a connection may have lived to be
// used again; 0: only a new one will do; -1: any. *ret_generation is for spy_transfer.generation.
long spy_client_note_files(struct spy_client *c, unsigned *ret_generation);

// Sets up t->easy, which is new or was reset, for the request. Errors as spy_client_send.
// connection_age as spy_client_note_files returns it.
int spy_transfer_prepare(struct spy_transfer *t, long connection_age, struct spy_err *err);
// Fills the answer from how libcurl ended the transfer.
void spy_transfer_end(struct spy_transfer *t, CURLcode code);
// Frees all but easy and the answer; wipes the token.
void spy_transfer_clear(struct spy_transfer *t);
