/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _UAPI_LINUX_BOX_H
#define _UAPI_LINUX_BOX_H
#define BOX_NAME_MAX 16
enum box_state {
	BOX_CLOSED,
	BOX_OPEN,
};
#endif
