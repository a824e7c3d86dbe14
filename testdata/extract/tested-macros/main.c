#define _SVID_SOURCE
#undef _SVID_SOURCE
#define _GNU_SOURCE
#define WANT_LONG BECAUSE
#define UNUSED 1
#define BECAUSE 1
#include <string.h>
#include "tested.h"
#undef _GNU_SOURCE
#define _POSIX_SOURCE

#define SHADE 5
enum colour {
#define COLOUR(name, value) name = value,
#include "colours.def"
#undef COLOUR
};

int main(void)
{
	return (sizeof(number) - sizeof(long)) + (strcmp(basename("/a/b"), "b") != 0) + green - 5;
}
