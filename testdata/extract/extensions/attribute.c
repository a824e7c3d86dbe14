#define is_tagged(x) __builtin_has_attribute(x, nonstring)

static char tag[4] __attribute__((nonstring)), name[8];

int tagged(int n)
{
	_Static_assert(!is_tagged(name), "a string");
	return is_tagged(tag) ? n : name[n];
}
