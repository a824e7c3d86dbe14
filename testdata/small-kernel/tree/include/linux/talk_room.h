/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_TALK_ROOM_H
#define _LINUX_TALK_ROOM_H
/* Users have defined TALK_ABOUT and TALK_ROOM. */
#ifdef TALK_DEBUG
#define talk_wider(level) (level)
#else
#define talk_wider(level) ((level) - 1)
#endif
static inline int talk_room(int level)
{
	return level + TALK_ABOUT + TALK_ROOM;
}
#endif
