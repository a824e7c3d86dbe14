#define ADDED 1
