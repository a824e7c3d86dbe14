/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _TRACE_GADGET_H
#define _TRACE_GADGET_H
#include <linux/tracepoint.h>
DECLARE_TRACE(gadget_turn, TP_PROTO(int speed, const char *label), TP_ARGS(speed, label));
#endif
