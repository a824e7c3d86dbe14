struct ops {
	int (*open)(int depth);
};

static int open(int depth);
int release(int depth);

#define AGAIN(depth) open((depth) - 1)

static struct ops ops = { .open = open };

static int open(int depth)
{
	return depth ? AGAIN(depth) : ops.open != open;
}

int release(int depth)
{
	return ops.open(depth) + open(depth);
}

int main(void)
{
	return release(3);
}
