/* SPDX-License-Identifier: GPL-2.0-only */
int state;
int use(int);
static __attribute__((noinline)) int level(int x) { return x * state++ + 1; }
int caller(int x) {
	int a = level(x);
	int b = level(x);
	return a + b;
}
