// SPDX-License-Identifier: GPL-2.0-only
#include <linux/kernel.h>
#include <linux/export.h>
#include <linux/units.h>
#include "meter.h"

int meter_level;
int meter_steps[4];
int unit_steps[] = { 1, 2, 3 };

#undef clamp
static noinline int clamp(int level, int low, int high)
{
	return level < low ? low : level > high ? high : level;
}

int level(void)
{
	return clamp(meter_level, 0, (int)ARRAY_SIZE(meter_steps)) + meter_steps[1];
}

int meter_next(int step)
{
	return unit_steps[step % ARRAY_SIZE(unit_steps)];
}

/* There is one in clock.c too. */
static noinline int scale(int level)
{
	return level / METER_STEP;
}

/* Says what is wrong by its name. */
#define METER_CHECK(value) ((value) > 0 ? 0 : _printk("bad " #value "\n"))

struct meter_options {
	int clock_rate;
	int (*convert)(int level);
};

static const struct meter_options meter_default = { .clock_rate = 1, .convert = scale };

/* A member of the name of an object that is nobody else's to see. */
int meter_rate(const struct meter_options *options)
{
	return options->clock_rate + clock_rate + METER_CHECK(meter_level);
}

int *meter_where(int which)
{
	static int *const places[] = { &clock_rate, &meter_level };

	return places[which & 1];
}

int meter_convert(int level)
{
	return meter_default.convert(level) + meter_default.clock_rate;
}

int meter_read(int channel)
{
	if (channel < 0)
		return -EINVAL;
	meter_level += channel;
	return scale(meter_level) + clock_tick(channel);
}

int meter_report(void)
{
	return meter_read(1) + clock_total();
}
