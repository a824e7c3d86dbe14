// SPDX-License-Identifier: GPL-2.0-only
#include <linux/kernel.h>
#include <linux/syscalls.h>

#define ODD_LEVEL 2
#define ODD_ROOM 3

static int odd_first = 1, *odd_second = &odd_first, odd_third[ODD_ROOM];
/* Named like a function that GCC knows */
static int gamma;

static const int odd_table[] = {
#include "odd.inc"
};

static noinline int odd_work(int depth)
{
	barrier();
	return depth + odd_first;
}

static int odd_quick(int depth) __attribute__((alias("odd_work")));

int odd_room(int which)
{
	return odd_third[which] + *odd_second + gamma;
}

int odd_quickly(int depth)
{
	return odd_quick(depth) + odd_quick(depth + 1);
}

int odd_level(int level)
{
#if ODD_LEVEL > 1
	level++;
#endif
#ifdef ODD_NEVER
	level--;
#endif
	return level + odd_table[level & 1];
}

#define ODD_STEP 1
int odd_step(int level)
{
	return level + ODD_STEP;
}
#undef ODD_STEP
#define ODD_STEP 2
int odd_steps(int level)
{
	return level + ODD_STEP * 2;
}

SYSCALL_DEFINE0(odd)
{
	return gamma;
}

SYSCALL_DEFINE1(odder, int, level)
{
	return level + odd_first;
}

#pragma GCC optimize ("no-tree-vectorize")
int odd_last(int level)
{
	return level * 3;
}
