// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>
#include <linux/kernel.h>
#include <linux/jump_label.h>
#include <linux/talk.h>

struct horn {
	int pitch;
};

/* The second one is the kernel's, which exports it. */
static DEFINE_STATIC_KEY_FALSE(horn_loud);
static DEFINE_STATIC_KEY_FALSE(horn_long);
DECLARE_STATIC_KEY_FALSE(talk_loud);

static struct horn horns[2];

int horn_blow(int which)
{
	if (static_branch_unlikely(&horn_loud) && static_branch_unlikely(&horn_long))
		return horns[which & 1].pitch * 2;
	return static_branch_unlikely(&horn_loud) ? 1 : horns[which & 1].pitch;
}

int horn_answer(int which)
{
	if (static_branch_unlikely(&talk_loud))
		return talk_more(which);
	return horns[which & 1].pitch;
}

static const int horn_pitches[] = { 440, 880, 1760 };

struct horn_set {
	int left[ARRAY_SIZE(horn_pitches)];
};

int horn_set(struct horn_set *set, unsigned int which)
{
	set->left[which % ARRAY_SIZE(horn_pitches)] = horn_pitches[which % ARRAY_SIZE(horn_pitches)];
	return sizeof(*set);
}

static int __init horn_init(void)
{
	horns[0].pitch = 440;
	return 0;
}
module_init(horn_init);
MODULE_LICENSE("GPL");
