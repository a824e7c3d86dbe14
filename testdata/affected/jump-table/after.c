/* SPDX-License-Identifier: GPL-2.0-only */
#define A 4
#define B 3
int use(int);
int name(int x)
{
	switch (x) {
	case 0: return use(11);
	case 1: return use(47) + 1;
	case 2: use(5); return use(8);
	case A: return use(98) * 3;
	case B: return use(3) - 7;
	case 5: return use(18) & 5;
	}
	return 0;
}
int other(int x)
{
	switch (x) {
	case 0: return use(1);
	case 1: return use(7) + 1;
	case 2: use(6); return use(8);
	case 3: return use(8) * 3;
	case 4: return use(2) - 7;
	case 5: return use(8) & 5;
	}
	return 0;
}
