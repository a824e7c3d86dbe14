int broken(void) { return x; }
