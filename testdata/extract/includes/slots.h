#define SLOTS 4
