/* Each function has the macro's definition of its place. */
#include <stdio.h>

#define STEP(x) ((x) + 10)
static inline int first(int x)
{
	return STEP(x) + 1;
}
#undef STEP

#define STEP(x) ((x) * 10)
static inline int second(int x)
{
	return STEP(x) + 1;
}
#undef STEP

int main(void)
{
	printf("%d\n", first(1) + second(2));
	return 0;
}
