/* SPDX-License-Identifier: GPL-2.0-only */
int kthread_should_stop(void);
int use(int);
void *kthread_create_on_node(int (*)(void *), void *, int, const char *);
static int worker(void *p) { while (use(1)) use(4); return 0; }
void start(void) { kthread_create_on_node(worker, 0, 0, "w"); }
int loop(void *p) { while (!kthread_should_stop()) use(5); return 0; }
int plain(int a) { while (use(a)) a += 2; return a; }
