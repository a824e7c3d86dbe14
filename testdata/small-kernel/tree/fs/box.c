// SPDX-License-Identifier: GPL-2.0-only
#include <linux/kernel.h>
#include <linux/export.h>
#include <linux/jump_label.h>
#include <linux/units.h>
#include "private.h"
#include <linux/box_ops.h>

static struct box_shelf box_shelf;
DEFINE_STATIC_KEY_FALSE(box_verbose);
DEFINE_STATIC_KEY_FALSE_RO(box_strict);

struct box_keys {
	int users;
	struct static_key_false loud;
} box_keys, *box_all_keys[2];

int level(void);

static noinline void box_tell(const struct box *box, int change)
{
	pr_info("%s: %d\n", box->name, change);
}

BOX_SHOW(weight)
BOX_SHOW(state)
BOX_PAIR(shelf)

u32 box_weigh(const struct box *box)
{
	if (static_branch_unlikely(&box_verbose))
		box_tell(box, 0);
	return box_show_weight(box) + box_show_state(box);
}
EXPORT_SYMBOL_GPL(box_weigh);

int box_open(struct box *box)
{
	if (box_is_open(box))
		return -EINVAL;
	box->state = BOX_OPEN;
	box_shelf.count++;
	box_tell(box, 1);
	return 0;
}
EXPORT_SYMBOL_NS_GPL(box_open, BOXES);

void box_close(struct box *box)
{
	if (static_branch_unlikely(&box_strict))
		box_tell(box, -1);
	box_seal(box);
	box_shelf.count--;
}

int box_place(struct box *box)
{
	if (static_branch_unlikely(&box_keys.loud))
		box_tell(box, box_keys.users);
	if (box_on_shelf(box, 1))
		return box_first_shelf(box);
	return box_second_shelf(box) + level();
}

int box_count_keys(void)
{
	return box_all_keys[0] ? box_all_keys[0]->users : box_keys.users;
}
