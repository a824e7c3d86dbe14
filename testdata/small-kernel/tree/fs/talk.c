// SPDX-License-Identifier: GPL-2.0-only
#include <linux/kernel.h>
#include <linux/export.h>
#include <linux/jump_label.h>
#define TALK_DEBUG
#define TALK_ABOUT 3
#define TALK_ROOM (TALK_ABOUT * 2)
#include <linux/talk.h>
#include <linux/talk_room.h>
#define TALK_LATE

DEFINE_STATIC_KEY_FALSE(talk_loud);
EXPORT_SYMBOL(talk_loud);

noinline int talk_say(int level)
{
	return talk("say\n") + talk_level + level;
}

int talk_name(int level)
{
	return talk_about + level;
}

int talk_wide(int level)
{
	return talk_room(talk_wider(level));
}

noinline int talk_more(int level)
{
	return talk_say(level) + (static_branch_unlikely(&talk_loud) ? 2 : 1);
}
EXPORT_SYMBOL(talk_more);

#pragma weak talk_last
int talk_last(int level)
{
	return talk_more(level) * 3;
}
