/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
static __attribute__((noinline)) int work(int x, int mode) {
	if (mode == 3)
		return use(x) * 9;
	return use(x + mode) + use(mode);
}
int first(int x) { return work(x, 3) + 1; }
int second(int x) { return work(x + 1, 3); }
