/* Nobody writes to the variables, so that GCC leaves no object of them; one is defined without an initialiser. */
#include <stdio.h>

static int step = 3;
static int nothing;

static int next(int x)
{
	return x + step + 1 + nothing;
}

int main(void)
{
	printf("%d\n", next(4) + next(5));
	return 0;
}
