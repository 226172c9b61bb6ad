// token.h - a secret in a file: one line, read whole. Any thread.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

// Reads at most size - 1 bytes of the file into out, without the white space at their end, and ends
// them with a NUL. Returns the length (0: the file is empty) or a negative code. The caller wipes
// out.
ssize_t spy_token_read(const char *path, char *out, size_t size);
// May the text stand in an HTTP header? True for visible ASCII characters only, and for "".
bool spy_token_is_visible(const char *token);
// As spy_token_read, without white space at the beginning either, for a token that is to be sent.
// Returns NULL, or why it cannot be sent, to be put after the file's name: "is empty".
const char *spy_token_read_to_send(const char *path, char *out, size_t size);
