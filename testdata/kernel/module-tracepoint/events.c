/* Turns the tracepoint on and off, and says whether a connection passes it; then what a connection to port 4242 gets. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#define TRACING "/sys/kernel/tracing/"

static const char *try(unsigned int port)
{
	struct sockaddr_vm address = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_LOCAL,
		.svm_port = port,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	int error = fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) ? errno : 0;

	close(fd);
	return error ? strerror(error) : "connected";
}

static void set(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_TRUNC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		printf("%s: %s\n", file, strerror(errno));
	close(fd);
}

static void count(const char *state)
{
	char line[1024];
	int passed = 0;
	FILE *trace;

	set(TRACING "events/vsock/virtio_transport_recv_pkt/enable", state);
	set(TRACING "trace", "\n");
	try(4241);
	trace = fopen(TRACING "trace", "r");
	while (trace && fgets(line, sizeof(line), trace))
		passed += strstr(line, "virtio_transport_recv_pkt:") && strstr(line, "4241");
	if (trace)
		fclose(trace);
	printf("%s: %s\n", state, passed ? "passed" : "not passed");
}

int main(void)
{
	mount("none", TRACING, "tracefs", 0, NULL);
	count("0");
	count("1");
	count("0");
	printf("port 4242: %s\n", try(4242));
	return 0;
}
