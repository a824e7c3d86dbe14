#include <stdio.h>

static unsigned calls;

inline static unsigned once(unsigned a)
{
	calls += a;
	return a > 1 ? once(a / 2) + calls : a;
}

int main(void)
{
	unsigned i, total = 0;

	for (i = 0; i < 9; i++)
		total = total * 3 + once(i);
	printf("%u\n", total);
	return 0;
}
