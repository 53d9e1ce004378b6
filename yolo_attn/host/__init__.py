"""Everything that touches Ultralytics' insides: rows, registration, gated modules, loading, releases."""
