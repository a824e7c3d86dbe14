/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_SMP_H
#define _LINUX_SMP_H
extern unsigned long __cpu_online_mask;
int raw_smp_processor_id(void);
#define cpu_online(cpu) ((__cpu_online_mask >> (cpu)) & 1)
#define preempt_disable_notrace() barrier()
#define preempt_enable_notrace() barrier()
#endif
