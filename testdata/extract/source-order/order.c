struct inner { int x; } first = { 2 };
struct outer { struct inner inner; };
int table[] = { 1, 2, 3 };
enum { LENGTH = sizeof(table) / sizeof(table[0]) };
#define WIDTH 4
int wide[WIDTH];
#undef WIDTH
#define WIDTH 2
int narrow[WIDTH];

int main(void)
{
	struct outer outer = { first };

	return outer.inner.x + LENGTH + sizeof(wide) - sizeof(narrow) - 13;
}
