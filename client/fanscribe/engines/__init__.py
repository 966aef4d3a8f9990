"""Engine families, seen from outside: checking variant files, trying a handler out, starting a new family."""
