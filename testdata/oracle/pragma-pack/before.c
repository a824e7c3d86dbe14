/* The type is copied without the lines around it; its layout must stay. */
#include <stdio.h>

#pragma pack(push)
#pragma pack(1)
struct fields {
	char a;
	int b;
	short c;
};
#pragma pack(pop)

struct fields fields = { 1, 2, 3 };

__attribute__((noinline)) static int sum(void)
{
	return fields.a + fields.b * 3 + fields.c;
}

int main(void)
{
	printf("%d\n", sum());
	return 0;
}
