/* Connects to two ports of this machine where nobody listens. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

static void try(unsigned int port)
{
	struct sockaddr_vm address = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_LOCAL,
		.svm_port = port,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		printf("port %u: %s\n", port, strerror(errno));
	else
		printf("port %u: connected\n", port);
	close(fd);
}

int main(void)
{
	try(4241);
	try(4242);
	return 0;
}
