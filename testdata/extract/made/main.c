#define MAKE(name)		\
int make_##name(int by)		\
{				\
	return by + 3;		\
}
MAKE(three)

int main(void)
{
	return make_three(-3);
}
