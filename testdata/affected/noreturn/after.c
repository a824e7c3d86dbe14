/* SPDX-License-Identifier: GPL-2.0-only */
void stop(void);
static __attribute__((noinline)) void fail(void) { stop(); }
int use(int);
int caller(int x) {
	if (x < 0)
		fail();
	return use(x);
}
