/* Parentheses around a function's name keep a macro of that name out. */
#include <stdio.h>

typedef int number_t;
#define difference(a, b) (difference)(a, b)

static number_t (difference)(number_t a, number_t b)
{
	return a - b;
}

int main(void)
{
	printf("%d\n", difference(5, 3));
	return 0;
}
