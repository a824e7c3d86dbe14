// SPDX-License-Identifier: GPL-2.0-only
#include <linux/kernel.h>
#include <linux/units.h>
#include <linux/box.h>
#include <linux/impl.h>

/* linux/init.h, which the template of a module includes, has another one. */
#define INIT_GRAIN 8

#pragma pack(push, 1)
struct pack_head {
	char kind;
	int length;
};
#pragma pack(pop)

static int pack_count[2];

int pack_length(const struct pack_head *head)
{
	_Static_assert(sizeof(struct pack_head) == 5, "no holes");
	return head->length * INIT_GRAIN;
}

/* Enumerators of a list that is read anew each time, and of a header that says so. */
int pack_unit(int which)
{
	return which ? UNIT_kilo : UNIT_gram;
}

/* The header that has it refuses to come alone. */
int pack_shelves(int rooms)
{
	return box_shelves(rooms);
}

/* Makes two functions. */
#define PACK_TWO(name)								\
static noinline int pack_first_##name(int by)					\
{										\
	pack_##name[0] += by;							\
	return pack_##name[0];							\
}										\
static noinline int pack_second_##name(int by)					\
{										\
	pack_##name[1] += by;							\
	return pack_##name[1];							\
}
PACK_TWO(count)

int pack_both(int by)
{
	return pack_first_count(by) + pack_second_count(by);
}

int pack_impl(int by)
{
	return impl_first(by);
}

int pack_other_impl(int by)
{
	return impl_second(by);
}
