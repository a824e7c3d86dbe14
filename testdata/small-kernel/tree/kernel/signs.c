// SPDX-License-Identifier: GPL-2.0-only
#include <linux/kernel.h>
#include <linux/ledger.h>
#include <linux/book.h>
#include <linux/codes.h>
#include <linux/serial.h>
#include <linux/sizes.h>
#include <linux/syscalls.h>
#include <linux/first.h>
#include <linux/second.h>
#include <linux/third.h>
#include "signs.h"

#define SIGN_HALF 2
#define SIGN_ALL (SIGN_HALF * 2)

static int sign_total;

/* Its declaration needs a macro of its own file and one of a header that nothing else is used of. */
int noinline sign_add(int (*signs)[SIGN_ALL], int (*more)[SIZES_MOST])
{
	sign_total += (*signs)[0] + (*more)[0];
	return sign_total;
}

int sign_use(int which)
{
	int signs[4] = { which }, more[8] = { which };

	return sign_add(&signs, &more);
}

/* A parameter named like a macro further down. */
int sign_low(int sign_limit)
{
	return sign_limit - 1;
}

#define sign_limit 3
int sign_high(int sign)
{
	return sign < sign_limit ? sign : sign_limit;
}

int sign_near(int step);

int sign_step(int step)
{
	return step * sign_total;
}

/* What it says of sign_near() is so in all of the file. */
int sign_far(int step)
{
	extern int sign_near(int step) __asm__("sign_step");

	return sign_near(step) + 1;
}

int sign_both(int step)
{
	return sign_near(step) + sign_near(step + 1);
}

/* The header's function counts, for each file that includes it. */
int sign_serial(void)
{
	return serial_next() + 1;
}

/* The header of its structure isn't named here, and has what another header has brought before. */
long sign_entry(const struct entry *entry)
{
	return entry_seconds(entry);
}

/* Its header wants those that stand before it here. */
int sign_third(int by)
{
	return third_of(by);
}

/* Functions of a list that is read anew each time. */
int sign_code(int which)
{
	return which ? code_first() : code_second();
}

int sign_several(int which)
{
	return sign_left[which] + sign_right[which];
}

/* Makes a function that has a static variable. */
#define SIGN_MADE(name)								\
static noinline int sign_##name(int by)					\
{										\
	static const int most = 7;						\
	const int *at = &most;							\
										\
	barrier();								\
	return by < *at ? by : *at;						\
}
SIGN_MADE(capped)

int sign_cap(int by)
{
	return sign_capped(by) + 1;
}

/* A type together with an object that its users don't need. */
static struct sign_board {
	int width;
} sign_board;

int sign_boards(void)
{
	return ++sign_board.width;
}

int sign_width(const struct sign_board *board)
{
	return board->width * 2;
}

/* The name is the macro's, what stands before it isn't. */
#define SIGN_NAMED(name) sign_##name(int by)
int SIGN_NAMED(pasted)
{
	return by + sign_total;
}

/* Makes a function, and another one that has its name from here. */
#define SIGN_PAIR(plain, name)							\
static inline int plain(int by)							\
{										\
	return by * 7;								\
}										\
int sign_##name(int by)								\
{										\
	return plain(by) + 1;							\
}
SIGN_PAIR(sign_sevenfold, paired)

/* GCC knows whom it calls, and has no such table. */
static const struct sign_kind {
	int (*of)(int by);
} sign_kinds[] = { { sign_step } };

int sign_kind(int by)
{
	return sign_kinds[0].of(by) - 1;
}

/* Only its length matters. */
static const int sign_list[] = {
#include "signs.inc"
};

int sign_listed(int by)
{
	return by + ARRAY_SIZE(sign_list);
}

SYSCALL_DEFINE0(sign)
{
	return sign_total;
}

SYSCALL_DEFINE0(signs)
{
	return sign_total + 1;
}

/* What stands before the invocation is the first function's alone. */
#define SIGN_ODD(plain, name)							\
int plain(int by)								\
{										\
	return by * 9;								\
}										\
int sign_##name(int by)								\
{										\
	return plain(by) + 1;							\
}
static inline SIGN_ODD(sign_ninefold, odd)

/* Makes a function whose body, with its static variable, is spelled in the invocation. */
#define SIGN_COUNTED(name, body)						\
noinline int sign_##name(int by)						\
{										\
	body									\
}
SIGN_COUNTED(counted,
	static int count;

	count += by;
	barrier();
	return count;
)

struct sign_shape {
	const int *sizes;
	const struct sign_size { int width, height; } *size;
	int width;
};

/* Two constants are kept, of two only the numbers are taken. */
int sign_shaped(struct sign_shape *shape, int which)
{
	static const int sizes[] = { 1, 2, 3, 5 };
	static const struct sign_size size = { 8, 9 }, other = { 6, 7 };
	static const int widths[2][2] = { { 1, 2 }, { 3, 4 } };

	barrier();
	shape->sizes = sizes;
	shape->size = &size;
	shape->width = widths[which & 1][(which >> 1) & 1] + (other).height + ARRAY_SIZE(widths);
	return which;
}

/* What the patch makes of a constant isn't the running kernel's. */
void sign_resized(struct sign_shape *shape)
{
	static const int sizes[] = { 4, 6, 8 };

	barrier();
	shape->sizes = sizes;
}

/* A table of its own labels, which a copy must not take from the running kernel's function. */
int sign_jumped(int which)
{
	static const void *const ways[] = { &&one, &&two };
	static void *more[] = { &&two, &&one };

	barrier();
	if (which > 1)
		goto *more[which & 1];
	goto *ways[which & 1];
one:
	return sign_total;
two:
	return -which;
}
