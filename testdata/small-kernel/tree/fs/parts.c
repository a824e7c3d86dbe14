// SPDX-License-Identifier: GPL-2.0-only
#include <linux/kernel.h>
#include <linux/plain.h>
#include "parts.h"

struct part_list;
struct part_bin;

struct part_ops {
	int (*count)(const struct part_list *list);
};

struct part_link {
	struct part_list *list;
	struct part_bin *bin;
};

struct part_list {
	int count;
	struct part_list *next;
};

struct part_bin {
	int room;
};

static const int part_sizes[] = { 1, 2, 4 };

/* As many as there are sizes. */
struct part_rack {
	int left[ARRAY_SIZE(part_sizes)];
};

static struct part_rack part_rack;
static int part_total;
/* Nobody changes it: no object file has it */
static int part_step = 3;
static unsigned int part_kinds;

static noinline int part_weigh(int size)
{
	part_total += size;
	return part_total;
}

static noinline int part_steps(int size)
{
	barrier();
	return size / part_step;
}

int part_use(struct part_link *link, const struct part_ops *ops)
{
	return ops->count(link->list) + link->list->next->count + link->bin->room;
}

/* Its names are macros further down. */
int part_pack(int size)
{
	int part_plain = part_steps(size), part_scaled = size, part_passing = 1;

	return part_weigh(size) + part_plain + part_scaled + part_passing;
}

int part_left(int which)
{
	int size, left = 0;

	for (size = 0; size < ARRAY_SIZE(part_rack.left); size++)
		left += part_rack.left[size] * part_sizes[which % ARRAY_SIZE(part_sizes)];
	return left;
}

#include <linux/parts.h>

part_size_t part_round(part_size_t size)
{
	part_kinds |= size;
	return part_rounded(size) + part_scaled(size) + part_kinds;
}

/* fs/talk.c exports another one. */
static noinline int talk_more(int level)
{
	part_total -= level;
	return part_total;
}

int part_talk(int level)
{
	return talk_more(level) + 1;
}

int part_sum(int size)
{
	return part_rounded(size) + plain_sum(size, 1);
}
