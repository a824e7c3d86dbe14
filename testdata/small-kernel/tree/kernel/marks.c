// SPDX-License-Identifier: GPL-2.0-only
#include <linux/kernel.h>
#include <linux/first.h>
#include <linux/builtin.h>
#include <linux/fourth.h>
#include "signs.h"

int sign_left[3] = { 1 }, sign_right[3] = { 2 };

/* Its header wants one of those before it; another one is for what is built in. */
int mark_fourth(int by)
{
	return fourth_of(by);
}

int mark_capped(int by)
{
	return sign_cap(by) + sign_cap(by * 2);
}
