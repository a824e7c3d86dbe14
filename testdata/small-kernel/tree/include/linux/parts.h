/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_PARTS_H
#define _LINUX_PARTS_H
/* Users have defined part_size_t and PART_MOST, and declared struct part_bag. */
int part_bagged(const struct part_bag *bag);

static inline part_size_t part_rounded(part_size_t size)
{
	return size < PART_MOST ? PART_MOST : size;
}

#define PART_GRAIN 16
/* Names that users have had for other things before. */
#define part_weigh(size) ((size) * PART_GRAIN)
#define part_plain 1
#define part_scaled(size) ((size) / PART_GRAIN)
#define part_passing 2
#undef part_passing
#endif
