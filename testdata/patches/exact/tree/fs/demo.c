#include "p.h"

static int demo_get(struct demo *d)
{
	int ret = 0;

	ret = d->value;
	return ret;
}
