#include <stdio.h>

#define TWICE(x) ((x) + (x))
#define STEP TWICE(1)

struct node;

struct list {
	struct node *first;
	int length;
};

enum kind { LEAF, BRANCH = STEP };

struct node {
	enum kind kind;
	struct list children;
	struct node *next;
};

static int seen[STEP];

static int weight(const struct node *node);

static int total(const struct list *list)
{
	int sum = 0;

	for (const struct node *node = list->first; node; node = node->next)
		sum += weight(node);
	return sum;
}

static int weight(const struct node *node)
{
	seen[node->kind == BRANCH]++;
	return node->kind == LEAF ? 1 : TWICE(total(&node->children));
}

static void forget(void)
{
	seen[0] = seen[1] = 0;
}

int count(const struct list *list)
{
	forget();
	return total(list);
}

void show(const struct list *list)
{
	int all = count(list);

	printf("%d of %d, %d and %d seen\n", all, list->length, seen[0], seen[1]);
}

int depth(const struct node *node)
{
	return node->kind == LEAF ? 0 : STEP + depth(node->children.first);
}

int main(void)
{
	struct node leaf = { LEAF };
	struct node branch = { BRANCH, { &leaf, 1 } };
	struct list list = { &branch, 1 };

	show(&list);
	return depth(&branch) - STEP;
}
