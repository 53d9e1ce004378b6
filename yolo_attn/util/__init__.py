"""Files, processes, environment and command-line words: helpers without a subject of their own."""
