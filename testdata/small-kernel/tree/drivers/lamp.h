/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/tracepoint.h>
/* No header that others may include has it. */
DECLARE_TRACE(lamp_lit, TP_PROTO(int colour), TP_ARGS(colour));
