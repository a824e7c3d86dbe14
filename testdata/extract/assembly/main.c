__asm__(".text\n.globl answer\nanswer: mov $42, %eax\nret\n");
extern int answer(void);
__asm__(".globl nobody\nnobody: ret\n");
#pragma weak maybe
extern int maybe(void);

int main(void)
{
	return answer() - 42 + (maybe != 0);
}
