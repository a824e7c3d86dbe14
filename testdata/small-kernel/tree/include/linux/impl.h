/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_IMPL_H
#define _LINUX_IMPL_H
/* Not inline: who includes it must use all of it. */
static int impl_first(int by)
{
	return by + 1;
}

static int impl_second(int by)
{
	return impl_first(by) * 2;
}
#endif
