/* SPDX-License-Identifier: GPL-2.0-only */
int use(int);
int name(int x)
{
	switch (x) {
	case 0: return 11;
	case 1: return 47;
	case 2: return 5;
	case 3: return 99;
	case 4: return 3;
	case 5: return 18;
	}
	return 0;
}
int other(int x) { return use(x) + 1; }
