/* Two limits that a new virtual CPU has: of the task register's segment, and of the GDT. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>

int main(void)
{
	struct kvm_sregs sregs;
	int kvm = open("/dev/kvm", O_RDWR);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
	int vcpu = vm < 0 ? -1 : ioctl(vm, KVM_CREATE_VCPU, 0);

	if (vcpu < 0 || ioctl(vcpu, KVM_GET_SREGS, &sregs)) {
		perror("kvm");
		return 1;
	}
	printf("tr %u, gdt %u\n", sregs.tr.limit, (unsigned int)sregs.gdt.limit);
	return 0;
}
