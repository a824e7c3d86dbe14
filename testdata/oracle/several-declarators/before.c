/* One declaration of several objects, and one of several functions. */
#include <stdio.h>

int one = 1, *to_one = &one, many[4] = { 1, 2, 3, 4 };
int pair_a(int x), pair_b(int x);

int pair_a(int x)
{
	one += x;
	return one;
}

int pair_b(int x)
{
	return *to_one - x;
}

__attribute__((noinline)) static int user(int x)
{
	return one + *to_one + many[x] + 1 + pair_a(x) * pair_b(x);
}

int main(void)
{
	printf("%d\n", user(2));
	return 0;
}
