#include "p.h"

static int demo_get(struct demo *d)
{
	int ret = 0;

	if (!d)
		return -EINVAL;
	ret = d->value;
	return ret;
}
