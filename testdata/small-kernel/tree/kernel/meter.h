/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _KERNEL_METER_H
#define _KERNEL_METER_H
#define METER_STEP 8
int clock_tick(int slot);
int clock_total(void);
extern int meter_level;
extern int meter_steps[];
extern int clock_rate;
#endif
