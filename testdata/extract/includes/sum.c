#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include "lib.h"

static int calls = 3;

static number sum(const struct list *list);

/* The sum of all values, and what static variables hold. */
static number sum(const struct list *list)
{
	static number seen = 1;

	calls++;
	seen += TWICE(head(list));
	return list ? head(list) + sum(list->next) : seen + calls;
}

int main(void)
{
	struct list one = { NULL, 5 };

	printf("%ld %zu\n", sum(&one), strlen("abc"));
	return 0;
}
