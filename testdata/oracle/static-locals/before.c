/*
 * Static variables of functions: one name twice in a function, in nested blocks and in several functions; hidden by another
 * variable, and a member's name too; of a type without a name, sized by its initialiser, several in one declaration, declared
 * by a macro with the name as its argument (in a section of its own, as per-CPU data is), mentioned in macros' arguments and by another one's initialiser; in functions
 * that are inlined and cloned; written only by the new version.
 */
#include <stdio.h>

#define DEFINE_COUNTER(name) struct counter name = { 5, &name.hits }
#define DEFINE_APART(type, name) __attribute__((section("apart"))) __typeof__(type) name
#define BITS(name, size) unsigned char name[(size) / 8]
#define TWICE(x) ((x) + (x))

struct counter {
	int hits;
	int *to;
};

static int limit = 3;
static int state = 1000;

static inline int inlined(int x)
{
	static int state = 10;

	state += x;
	return state;
}

static __attribute__((noinline)) int cloned(int x, int y)
{
	static long state, *to_state;

	to_state = x ? &state : to_state;
	if (to_state)
		*to_state += x * y;
	return state;
}

__attribute__((noinline)) int shapes(int x, struct counter *counter)
{
	static int state = 1;
	static struct { int first; int second; } pair = { 7, 9 };
	static unsigned int sizes[] = { 1, 2, 3, 4, 5 };
	static int one = 2, two[3] = { 1 }, *to_one = &one;
	static DEFINE_COUNTER(made);
	static DEFINE_APART(int, apart);
	static __attribute__((section("apart"))) int aside = 4;
	static BITS(map, 32);
	static const int table[] = { 3, 1, 4 };
	int sum = 0;

	if (x > 1) {
		static int state = 100;

		state += x;
		sum += state;
		if (x > 2) {
			int state = 4;
			struct { int state; } other = { .state = 6 };

			sum += state + other.state;
		}
	}
	{
		static int state = 200;

		state++;
		sum += TWICE(state);
	}
	state += limit;
	pair.second += pair.first++;
	sizes[x % (sizeof(sizes) / sizeof(sizes[0]))] += x;
	two[x % 3] += ++*to_one;
	to_one = x % 2 ? &two[2] : &one;
	made.hits += counter->hits;
	*made.to += 1;
	apart += x + ++aside;
	map[x % sizeof(map)] ^= x;
	sum += apart + aside + state + pair.second + sizes[x % 5] + one + two[1] + made.hits + map[1] + table[x % 3];
	return sum + inlined(x) + cloned(x, 3);
}

int main(void)
{
	struct counter counter = { 2, NULL };
	int i, sum = 0;

	for (i = 0; i < 9; i++)
		sum = sum * 3 + shapes(i, &counter) + inlined(i) + cloned(i, 3) + state;
	printf("%d\n", sum);
	return 0;
}
