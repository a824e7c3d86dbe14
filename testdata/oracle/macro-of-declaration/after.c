/* A macro that only the declaration of a function spells. */
#include <stdio.h>

#define quiet(n) __attribute__((__noinline__, __aligned__(n)))
#define very quiet(16)

static very int helper(int x)
{
	printf("%d\n", x);
	return x * 2;
}

__attribute__((noinline)) static int user(int x)
{
	return helper(x) + 2;
}

int main(void)
{
	printf("%d\n", user(2));
	return 0;
}
