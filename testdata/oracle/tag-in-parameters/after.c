/* The typedef's parameter names a type that is defined behind it. */
#include <stdio.h>

struct node;
typedef int (*visit_t)(struct node *node);

struct node {
	visit_t visit;
	int value;
};

static int twice(struct node *node)
{
	return node->value * 3;
}

static struct node node = { twice, 7 };

__attribute__((noinline)) static int walk(struct node *first)
{
	return first->visit(first) + first->value;
}

int main(void)
{
	printf("%d\n", walk(&node));
	return 0;
}
