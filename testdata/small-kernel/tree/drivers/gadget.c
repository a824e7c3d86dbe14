// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>
#include <linux/box.h>
#include <linux/jump_label.h>
#include <trace/events/gadget.h>

struct gadget {
	struct module *owner;
	int speed;
};

int helper_turn(int speed);
extern int helper_level;

DEFINE_TRACE(gadget_turn);
int __traceiter_gadget_turn(void *__data, int speed, const char *label)
{
	return 0;
}

DEFINE_STATIC_KEY_FALSE(gadget_fast);
static int gadget_turns;
static struct gadget gadgets[2];

static noinline int gadget_speed(const struct gadget *gadget)
{
	if (static_branch_unlikely(&gadget_fast))
		return gadget->speed * 2;
	return gadget->speed;
}

noinline int gadget_turn(int which, struct box *box)
{
	struct gadget *gadget = &gadgets[which & 1];

	gadget->owner = THIS_MODULE;
	trace_gadget_turn(gadget->speed, "turn");
	if (box_open(box))
		return -EINVAL;
	gadget_turns++;
	return helper_turn(gadget_speed(gadget)) + helper_level;
}

int gadget_tune(int speed)
{
	if (trace_gadget_turn_enabled())
		pr_info("tuned\n");
	gadgets[0].speed = speed;
	return gadget_turns;
}

static int __init gadget_init(void)
{
	struct box box = { .name = "init" };

	return gadget_turn(0, &box);
}
module_init(gadget_init);
MODULE_IMPORT_NS(BOXES);
MODULE_LICENSE("GPL");
