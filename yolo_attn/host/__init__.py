"""All uses of Ultralytics' internals: rows, registration, gated modules, loading, releases."""
