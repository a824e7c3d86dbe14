/* Begins a long dump and leaves it: whose reference is held meanwhile? Arguments: unix or route. */
#include <arpa/inet.h>
#include <dirent.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>

static int counts[512];
static char names[512][64];

static void look(int compare)
{
	DIR *modules = opendir("/sys/module");
	struct dirent *entry;
	int at = 0;

	while (modules && (entry = readdir(modules))) {
		char path[300];
		int count = 0;
		FILE *file;

		snprintf(path, sizeof(path), "/sys/module/%s/refcnt", entry->d_name);
		file = fopen(path, "r");
		if (!file || at == 512)
			continue;
		if (fscanf(file, "%d", &count) != 1)
			count = 0;
		fclose(file);
		if (compare && count != counts[at])
			printf("%s is held\n", names[at]);
		snprintf(names[at], sizeof(names[at]), "%.63s", entry->d_name);
		counts[at++] = count;
	}
	if (modules)
		closedir(modules);
}

static void add_routes(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	int i;

	for (i = 0; i < 900; i++) {
		struct rtentry route = { .rt_flags = RTF_UP, .rt_dev = "lo" };
		struct sockaddr_in *to = (struct sockaddr_in *)&route.rt_dst;
		struct sockaddr_in *mask = (struct sockaddr_in *)&route.rt_genmask;

		to->sin_family = mask->sin_family = AF_INET;
		to->sin_addr.s_addr = htonl(0x0a000000 + (i << 8));
		mask->sin_addr.s_addr = htonl(0xffffff00);
		ioctl(fd, SIOCADDRT, &route);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	int is_unix = argc > 1 && !strcmp(argv[1], "unix");
	struct {
		struct nlmsghdr header;
		union {
			struct unix_diag_req diag;
			struct rtmsg route;
		};
	} request = { .header = { .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP } };
	struct { struct nlmsghdr header; char rest[65536]; } answer = { };
	int other, fd = socket(AF_NETLINK, SOCK_RAW, is_unix ? NETLINK_SOCK_DIAG : NETLINK_ROUTE);
	int i;

	if (is_unix) {
		for (i = 0; i < 900; i++)
			socket(AF_UNIX, SOCK_STREAM, 0);
		request.header.nlmsg_len = NLMSG_LENGTH(sizeof(request.diag));
		request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
		request.diag.sdiag_family = AF_UNIX;
		request.diag.udiag_states = -1;
	} else {
		add_routes();
		request.header.nlmsg_len = NLMSG_LENGTH(sizeof(request.route));
		request.header.nlmsg_type = RTM_GETROUTE;
		request.route.rtm_family = AF_INET;
	}
	/* Before the patch this is a request like any other. */
	request.header.nlmsg_pid = 4242;
	other = socket(AF_NETLINK, SOCK_RAW, is_unix ? NETLINK_SOCK_DIAG : NETLINK_ROUTE);
	send(other, &request, request.header.nlmsg_len, 0);
	recv(other, &answer, sizeof(answer), 0);
	printf("port id 4242: %s\n", answer.header.nlmsg_type == NLMSG_ERROR ? "refused" : "answered");
	close(other);
	request.header.nlmsg_pid = 0;

	look(0);
	if (send(fd, &request, request.header.nlmsg_len, 0) < 0)
		perror("send");
	puts("a dump is under way");
	look(1);
	return 0;
}
