// SPDX-License-Identifier: GPL-2.0-only
#define pr_fmt(fmt) "clock: " fmt
#include <linux/kernel.h>
#include <linux/export.h>
#include <linux/init.h>
#include <linux/percpu.h>
#include <linux/units.h>
#include <linux/utsname.h>

#define CLOCK_SLOTS 4
#define CLOCK_SLOT(n) ((n) % CLOCK_SLOTS)

struct clock_slot {
	u32 ticks;
	u32 missed;
};

/* What the slots are for is nobody's business. */
static struct clock_slot clock_slots[CLOCK_SLOTS];
static const char *const clock_names[] = { "first", "second" };

static struct clock_range {
	int from, to;
} *clock_range, *(*clock_next)(struct clock_range *);

DEFINE_PER_CPU(int, clock_calls);
int clock_rate = 100;
unsigned long __cpu_online_mask = 1;

static noinline int scale(int ticks)
{
	return ticks * clock_rate;
}

static noinline int clock_missed(int slot)
{
	static int reports;

	if (clock_slots[slot].missed > 2)
		pr_info("slot %d misses, report %d\n", slot, ++reports);
	return clock_slots[slot].missed;
}

int clock_total(void)
{
	int slot, total = 0;

	for (slot = 0; slot < CLOCK_SLOTS; slot++)
		total += clock_slots[slot].ticks;
	return total;
}

noinline int clock_tick(int slot)
{
	this_cpu_inc(clock_calls);
	clock_slots[CLOCK_SLOT(slot)].ticks++;
	if (clock_next && clock_range)
		clock_range = clock_next(clock_range);
	pr_info("%s: %d\n", clock_names[slot & 1], slot);
	return scale(slot) + clock_missed(CLOCK_SLOT(slot));
}
EXPORT_SYMBOL(clock_tick);

int clock_convert(const struct unit_table *table, enum unit unit)
{
	if (unit >= UNIT_COUNT)
		return -EINVAL;
	return unit == UNIT_gram ? table->gram : table->kilo;
}
EXPORT_SYMBOL_GPL(clock_convert);

int raw_smp_processor_id(void)
{
	return 0;
}
EXPORT_SYMBOL(raw_smp_processor_id);
EXPORT_SYMBOL(__cpu_online_mask);

struct new_utsname *init_utsname(void)
{
	static struct new_utsname name;

	return &name;
}
EXPORT_SYMBOL_GPL(init_utsname);

int _printk(const char *fmt, ...)
{
	return 0;
}
EXPORT_SYMBOL(_printk);

static int clock_booted;

static int __init clock_init(void)
{
	clock_booted = 1;
	return clock_tick(0);
}

int __init start_kernel(void)
{
	return clock_init();
}
