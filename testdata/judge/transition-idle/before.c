/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
int rescuer_thread(void *p) { return use(1); }
__attribute__((section(".sched.text"))) int sleep_on(int a) { return use(a); }
