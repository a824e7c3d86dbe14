#include "cache.h"

struct entry {
	int key, value;
};

static struct entry table[] = { { 1, 2 }, { 3, 4 }, { 5, 6 } };
static int hits, misses;

static struct entry *lookup(int key)
{
	for (int i = 0; i < limit(sizeof(table) / sizeof(table[0])); i++)
		if (table[i].key == key)
			return &table[i];
	return 0;
}

int get(int key)
{
	struct entry *entry = lookup(key);

	*(entry ? &hits : &misses) += 1;
	return entry ? entry->value : -1;
}
