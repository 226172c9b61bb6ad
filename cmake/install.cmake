# Filled by the packaging work: man pages, completions, CPack.
