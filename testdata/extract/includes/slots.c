#include <stdio.h>
#include "slots.h"

static int table[SLOTS] = { 1, 2, 3 };

int slot(int n)
{
	return table[n] + table[0];
}

int main(void)
{
	printf("%d\n", slot(1));
	return 0;
}
